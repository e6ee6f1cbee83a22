"""The stages of the benchmark: ``make`` prunes, ``score`` compares with the model as given, ``time`` with two others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.case import Case
from benchmarks.side_by_side.child import candidate, make, serve


def _make(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    """In a cache folder of its own, so that no decision is taken from an earlier run."""
    from benchmarks.pruning.methods import method
    from benchmarks.pruning.tamis_recipes import decided

    os.environ["TAMIS_CACHE_DIR"] = str(Path(asked["out"]) / "cache")
    return make(method(asked["method"], asked["goal"]), case, asked) | {"decided": decided()}


def _score(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.side_by_side.figures import macs, score

    made = candidate(asked["made"])
    return {**score(case, made), "macs": macs(case, made), "whole_macs": macs(case, candidate(asked["whole"]))}


def _time(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
    """Against the same form of the model with nothing pruned, and against the model as given."""
    from benchmarks.side_by_side.figures import time

    made, seconds = candidate(asked["made"]), asked["seconds"]
    return {"against_whole": time(case, made, seconds, candidate(asked["whole"])), "latency": time(case, made, seconds)}


if __name__ == "__main__":
    serve({"make": _make, "score": _score, "time": _time})
