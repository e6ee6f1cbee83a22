"""One stage of one method on one model, in a process of its own: ``python -m CHILD REQUEST.json ANSWER.json``.

Each benchmark has a child of its own, with its stages; ``make`` writes a candidate, others judge it. A failure is an
answer.
"""

from __future__ import annotations

import json
import resource
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.side_by_side.candidate import Candidate, Maker
from benchmarks.side_by_side.case import Case

LONGEST = 200
Stage = Callable[[Case, dict[str, Any]], dict[str, Any]]
"""Gets the case and the request, gives what it found, as JSON data."""


def serve(stages: Mapping[str, Stage]) -> None:
    """Do what the request on the command line says."""
    request, answer = (Path(argument) for argument in sys.argv[1:3])
    asked = json.loads(request.read_text(encoding="utf-8"))
    given = asked["case"]
    case = Case(**{**given, "folder": Path(given["folder"]), "data": Path(given["data"])})
    try:
        found = stages[asked["stage"]](case, asked)
    except Exception as error:  # noqa: BLE001  whatever a method raises is its result
        traceback.print_exc()
        found = {"error": reason(error)}
    answer.write_text(json.dumps(found), encoding="utf-8")


def reason(error: BaseException) -> str:
    """An exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:LONGEST]


def make(maker: Maker, case: Case, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Make a candidate; with its place, the seconds and the memory that it took."""
    idle, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, monotonic()
    made = maker(case, Path(asked["out"]))
    return {
        "path": str(made.path),
        "run_by": made.run_by,
        "notes": list(made.notes),
        "made_seconds": monotonic() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "idle_mb": idle / 1024,
    }


def candidate(made: Mapping[str, Any]) -> Candidate:
    """What ``make`` has made."""
    return Candidate(Path(made["path"]), made["run_by"])
