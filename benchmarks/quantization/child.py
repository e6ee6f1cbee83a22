"""One stage of one quantizer on one model, in a process of its own: ``child REQUEST.json ANSWER.json``.

Stage ``quantize`` writes the quantized model, ``score`` compares it with the float32 one, ``time`` times both. A failure
is an answer.
"""

from __future__ import annotations

import json
import resource
import sys
import traceback
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.quantization.case import Case
from benchmarks.quantization.quantized import Quantized

LONGEST = 200


def main(request: Path, answer: Path) -> None:
    """Do what the request says."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    given = asked["case"]
    case = Case(**{**given, "folder": Path(given["folder"]), "data": Path(given["data"])})
    try:
        found = _quantize(case, asked) if asked["stage"] == "quantize" else _judge(case, asked)
    except Exception as error:  # noqa: BLE001  whatever a quantizer raises is its result
        traceback.print_exc()
        found = {"error": reason(error)}
    answer.write_text(json.dumps(found), encoding="utf-8")


def reason(error: BaseException) -> str:
    """An exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:LONGEST]


def _quantize(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.quantization.methods import quantizer

    make = quantizer(asked["method"])
    idle, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, monotonic()
    made = make(case, Path(asked["out"]))
    return {
        "path": str(made.path),
        "run_by": made.run_by,
        "notes": list(made.notes),
        "quantize_seconds": monotonic() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "idle_mb": idle / 1024,
    }


def _judge(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.quantization.judge import score, time

    made = Quantized(Path(asked["made"]["path"]), asked["made"]["run_by"])
    return score(case, made) if asked["stage"] == "score" else time(case, made, asked["seconds"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
