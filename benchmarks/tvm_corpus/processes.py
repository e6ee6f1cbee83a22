"""Take forms through TVM in a process of its own, one at a time; another process goes on where one ended."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

CHILD = "benchmarks.tvm_corpus.child"
LONGEST = 240.0
"""Seconds that one form may take, with the start of the process."""


class Outcome(NamedTuple):
    """What TVM did with a form.

    Args:
        stage: ``right`` or where it ended; see ``child.attempt``. ``crash``: the process ended or took too long.
        reason: Why.
    """

    stage: str
    reason: str


def run(names: Sequence[str]) -> dict[str, Outcome]:
    """Outcomes by name."""
    found: dict[str, Outcome] = {}
    todo = list(names)
    while todo:
        with _start() as process:
            try:
                while todo:
                    name = todo.pop(0)
                    found[name] = _ask(process, name)
                    if found[name].stage == "crash":
                        break
            finally:
                process.kill()
    return found


def _start() -> subprocess.Popen[str]:
    single = dict.fromkeys(("TVM_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    return subprocess.Popen(
        [sys.executable, "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _ask(process: subprocess.Popen[str], name: str) -> Outcome:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(name + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return Outcome("crash", "the process is gone")
    ready, _, _ = select.select([process.stdout], [], [], LONGEST)
    if not ready:
        return Outcome("crash", f"no answer within {LONGEST:.0f} s")
    line = process.stdout.readline()
    return Outcome(**json.loads(line)) if line else Outcome("crash", f"exit status {process.wait()}")
