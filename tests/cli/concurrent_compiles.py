"""Sixteen compiles at once, each in a child that is forked from here; their exit statuses go to stdout.

Every second child measures each step as slower, so that what they agree on is what the first of them stored.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import onnx_ir as ir
import onnxruntime  # noqa: F401  # loaded before the forks

from tamis.compiler import target_build
from tamis.compiler.cli.app import run
from tamis.compiler.incremental.make import make  # noqa: F401
from tamis.compiler.judge import Judge
from tamis.compiler.overrides import load_for
from tamis.compiler.timings import Comparison

COMPILES = 16
DIFFERENT = 6

target_build.MEASURE_SECONDS = 0.01
measured = Judge.speedup


def contrary(judge: Judge, before: ir.Model, after: ir.Model, *_: float, legalize: bool = True) -> Comparison:
    """What was measured in a moment, with the verdict of this child."""
    found = measured(judge, before, after, 0.01, legalize=legalize)
    return replace(found, verdict="slower" if os.getpid() % 2 else "undecided")


def main() -> None:
    Judge.speedup = contrary  # type: ignore[method-assign, assignment]
    load_for("recipe.yaml")  # imports the passes
    children = []
    for i in range(COMPILES):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(run(["compile", "recipe.yaml", "-o", f"out-{i}", "--quiet", "--set", f"seed={i % DIFFERENT}"]))
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.stdout.write(" ".join(map(str, statuses)))


if __name__ == "__main__":
    main()
