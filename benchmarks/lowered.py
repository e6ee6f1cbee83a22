"""A model of the zoo as runtime tvm gets it: after the passes of its recipe and the legalization."""

from __future__ import annotations

from pathlib import Path

from benchmarks.zoo.entries import entry
from benchmarks.zoo.folder import build
from tamis.compiler.model_file import load_model, save_model
from tamis.compiler.prepare import prepare
from tamis.compiler.recipe_file import load_recipe
from tamis.targets.tvm.runtime import Tvm


def lowered(name: str, path: Path) -> Path:
    """Write the model ``name`` to ``path``; returns that."""
    made = prepare(load_recipe(build(entry(name)) / "recipe.yaml"))
    (plan,) = made.plans
    model = load_model(build(entry(name)) / "model.onnx")
    for step in (*plan.steps, *Tvm().legalize_passes(plan.target.machine)):
        step(model, made.context(plan.target))
    save_model(model, path)
    return path
