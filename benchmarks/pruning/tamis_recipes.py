"""Recipes of tamis on the entry's own recipe: same model, inputs and calibration; labels of the selection half only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import tamis
from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case
from tamis.compiler.bundle import open_bundle
from tamis.compiler.tuning_database import TuningDatabase
from tamis.passes.pruning.prune_channels import KIND, PruneChannels

LOSSLESS = ("canonicalize", {"fuse": {"on_violation": "skip"}})
INT8 = ({"equalize-layers": {"on_violation": "skip"}}, {"quantize-static": {"on_violation": "skip"}})
ANYTHING_DB = -200.0
"""Least signal-to-noise ratio of the outputs: a method that spoils the model stands in the table with what it spoils."""
Step = str | Mapping[str, Any]


def whole(case: Case, out: Path) -> Candidate:
    """The lossless steps alone."""
    return _compiled(case, out, LOSSLESS)


def pruned(case: Case, out: Path, *, options: Mapping[str, Any], goal: float) -> Candidate:
    """Pruned to a ratio of latencies. It stays whatever its speed: the table shows that."""
    return _compiled(case, out, (*LOSSLESS, _prune(options, goal)))


def int8(case: Case, out: Path, *, goal: float) -> Candidate:
    """Pruned to a ratio of latencies, then in 8 bits."""
    return _compiled(case, out, (*LOSSLESS, _prune({}, goal), *INT8))


def decided() -> dict[str, Any]:
    """What the search of the last compile has found, with the ratios that it predicted and measured; empty without one.

    The tuning database is that of a folder of its own, see ``child``.
    """
    with TuningDatabase() as database:
        found = [record.value for record in database.items() if record.kind == KIND]
    return {key: found[-1][key] for key in ("predicted", "measured", "predictions")} if found else {}


def _prune(options: Mapping[str, Any], goal: float) -> Step:
    return {PruneChannels.name: {"latency": goal, "guard": "off", **options}}


def _compiled(case: Case, out: Path, steps: Sequence[Step]) -> Candidate:
    """The bundle for this machine; of a goal that is missed, what came next to it."""
    recipe = yaml.safe_load((case.folder / "recipe.yaml").read_text(encoding="utf-8"))
    del recipe["extends"]
    recipe |= {"model": str(case.model), "passes": list(steps)}
    recipe["targets"] = [{"machine": "host", "options": {"threads": case.threads}}]
    recipe["data"]["calibration"] = {"npz": str(case.data / "calibration.npz")}
    recipe["data"]["evaluation"] = {"npz": str(case.data / "selection.npz"), "metric": case.metric}
    recipe["budget"] = {"accuracy": {"min_sqnr": ANYTHING_DB}}
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    place, notes = out / "bundle", []
    try:
        tamis.compile(recipe=path, out=place, force=True)
    except tamis.BudgetMissedError as error:
        place = out / "bundle.missed"
        notes = [error.message]
    undone = [s for s in open_bundle(place, check=False).report.steps if s.reason]
    return Candidate(place, "tamis", (*notes, *(f"{step.name} {step.verdict}: {step.reason}" for step in undone)))
