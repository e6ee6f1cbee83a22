"""Recipes of tamis on the entry's own recipe: same model, inputs and calibration; the budget on the selection half."""

from __future__ import annotations

from pathlib import Path

import yaml

import tamis
from benchmarks.side_by_side.candidate import Candidate, Maker
from benchmarks.side_by_side.case import Case


def by_recipe(name: str) -> Maker:
    """Compile by the shipped recipe ``name`` for this machine."""

    def compile_(case: Case, out: Path) -> Candidate:
        recipe = yaml.safe_load((case.folder / "recipe.yaml").read_text(encoding="utf-8"))
        recipe["extends"], recipe["model"] = name, str(case.model)
        recipe["targets"] = [{"machine": "host", "options": {"threads": case.threads}}]
        recipe["data"]["calibration"] = {"npz": str(case.data / "calibration.npz")}
        recipe["data"]["evaluation"] = {"npz": str(case.data / "selection.npz"), "metric": case.metric}
        recipe["budget"] = {"accuracy": {"max_drop": case.max_drop}}
        path = out / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        bundle = tamis.compile(recipe=path, out=out / "bundle", force=True)
        undone = [f"{step.name} {step.verdict}: {step.reason}" for step in bundle.report.steps if step.reason]
        return Candidate(out / "bundle", "tamis", tuple(undone))

    return compile_
