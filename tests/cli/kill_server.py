"""Compiles on demand, each in a child that is forked from here, so that starting costs nothing: ``seed`` per line on stdin.

Prints ``pid N`` when the child starts and ``end STATUS`` when it has ended. No session of a runtime exists here before a fork.
"""

from __future__ import annotations

import os
import sys

import onnxruntime  # noqa: F401  # loaded before the fork

from tamis.compiler import target_build
from tamis.compiler.cli.app import run
from tamis.compiler.incremental.make import make  # noqa: F401
from tamis.compiler.overrides import load_for

target_build.MEASURE_SECONDS = 0.01


def main() -> None:
    load_for("recipe.yaml")  # imports the passes
    for line in sys.stdin:
        arguments = ["compile", "recipe.yaml", "-o", "out", "--quiet", "--set", f"seed={line.strip()}"]
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(run(arguments))
        say(f"pid {child}")
        say(f"end {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
