"""The stages of the benchmark: ``make`` quantizes, ``score`` compares with the float32 model, ``time`` times both."""

from __future__ import annotations

from typing import Any

from benchmarks.side_by_side.case import Case
from benchmarks.side_by_side.child import candidate, make, serve


def _make(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.quantization.methods import quantizer

    return make(quantizer(asked["method"]), case, asked)


def _score(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.quantization.judge import score

    return score(case, candidate(asked["made"]))


def _time(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.side_by_side.figures import time

    return {"latency": time(case, candidate(asked["made"]), asked["seconds"])}


if __name__ == "__main__":
    serve({"make": _make, "score": _score, "time": _time})
