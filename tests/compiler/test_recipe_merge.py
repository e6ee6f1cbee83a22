"""``--set``: what it can reach, and what it says when it cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tamis.compiler.errors import RecipeError, UsageError
from tamis.compiler.recipe import Recipe
from tamis.compiler.recipe_file import load_recipe, resolved
from tests.toy_registry import toys, write

__all__ = ["toys"]

pytestmark = pytest.mark.usefixtures("toys")

TEXT = """\
version: 1
inputs:
  x: {shape: [N, 3], N: [1, 8]}
  input.1: {shape: [4]}
data:
  calibration: {folder: here, samples: 3}
passes:
  - canonicalize
  - quantize-dynamic: {weights: uint8}
  - fold-conv-affine:
  - quantize-dynamic
targets:
  - host
  - {machine: cortex-a72, runtime: onnxruntime, passes: [quantize-dynamic]}
  - {machine: cortex-a72, name: other}
"""


def load(folder: Path, sets: Sequence[str] | Mapping[str, Any], text: str = TEXT) -> Recipe:
    return load_recipe(write(folder, "r.yaml", text), sets=sets).recipe


def at(recipe: Recipe, *path: str | int) -> Any:
    found: Any = resolved(recipe)
    for part in path:
        found = found[part]
    return found


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("passes.canonicalize.guard=off", ("passes", 0, "canonicalize", "guard"), "off"),
        ("passes.fold-conv-affine.guard=off", ("passes", 2, "fold-conv-affine", "guard"), "off"),
        ("passes.quantize-dynamic#1.ratio=1e-2", ("passes", 1, "quantize-dynamic", "ratio"), 0.01),
        ("passes.quantize-dynamic#2.ratio=1", ("passes", 3, "quantize-dynamic", "ratio"), 1),
        ("passes.quantize-dynamic#1={channels: [1]}", ("passes", 1, "quantize-dynamic", "weights"), "uint8"),
        ("passes=[fold-conv-affine]", ("passes", 0, "fold-conv-affine", "guard"), "measure"),
        ("targets.host.tune.seconds=5", ("targets", 0, "tune", "seconds"), 5),
        ("targets.host.passes=[canonicalize]", ("targets", 0, "passes", 0, "canonicalize", "guard"), "measure"),
        ("targets.other.tune={trials: 8}", ("targets", 2, "tune", "trials"), 8),
        ("targets.cortex-a72.options.threads=3", ("targets", 1, "options", "threads"), 3),
        (
            "targets.cortex-a72.passes.quantize-dynamic.weights=uint8",
            ("targets", 1, "passes", 0, "quantize-dynamic", "weights"),
            "uint8",
        ),
        ("targets.other.machine=x86-64-avx2", ("targets", 2, "machine"), "x86-64-avx2"),
        ("targets.host=x86-64-avx2", ("targets", 0, "machine"), "x86-64-avx2"),
        ("targets=[x86-64-avx2]", ("targets", 0, "machine"), "x86-64-avx2"),
        ("inputs.x.shape=[1, 3]", ("inputs", "x"), {"shape": [1, 3]}),
        ("inputs.x.N=[2, 2]", ("inputs", "x", "N"), [2, 2]),
        ('inputs."input.1".shape=[5]', ("inputs", "input.1", "shape"), [5]),
        ("inputs.y={shape: [2]}", ("inputs", "y", "shape"), [2]),
        ("budget.size.max_mb=3", ("budget", "size", "max_mb"), 3),
        ("data.calibration.npz=c.npz", ("data", "calibration", "npz"), "c.npz"),
        ("seed=7", ("seed",), 7),
        ("model=a=b.onnx", ("model",), "a=b.onnx"),
    ],
)
def test_a_set_changes_what_it_names(text: str, path: tuple[str | int, ...], value: object, tmp_path: Path) -> None:
    before, after = load(tmp_path, []), load(tmp_path, [text])
    assert at(after, *path) == value
    assert after != before
    if not text.startswith("passes="):
        assert [step.where for step in after.passes] == [step.where for step in before.passes]


def test_sets_apply_in_order_and_null_unsets(tmp_path: Path) -> None:
    sets = ["budget.size.max_mb=3", "budget.size.max_mb=4", "data.calibration=null"]
    recipe = load(tmp_path, sets)
    assert at(recipe, "budget") == {"size": {"max_mb": 4}}
    assert recipe.data.calibration is None


def test_a_new_source_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    recipe = load(tmp_path, {"data.calibration.npz": Path("c.npz")})
    assert recipe.data.calibration is not None
    assert (recipe.data.calibration.npz, recipe.data.calibration.folder) == ("c.npz", None)
    assert recipe.data.calibration.samples == 3


def test_plain_data_from_python(tmp_path: Path) -> None:
    recipe = load(tmp_path, {"targets": ["host"], "inputs.x": {"shape": (2, 3)}})
    assert [t.machine for t in recipe.targets] == ["host"]
    assert recipe.inputs["x"].shape == (2, 3)


def test_the_default_target_can_be_changed(tmp_path: Path) -> None:
    recipe = load(tmp_path, ["targets.host.tune.seconds=5"], "version: 1\npasses: []\n")
    assert recipe.targets[0].tune is not None
    assert recipe.targets[0].tune.seconds == 5


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            ["bugdet.size.max_mb=3"],
            "--set bugdet.size.max_mb: unknown key 'bugdet' in the recipe (did you mean 'budget'?)",
        ),
        (["budget.size.max_md=3"], "unknown key 'max_md' in budget.size (did you mean 'max_mb'?)"),
        (["budget.size.max_mb=x"], "--set budget.size.max_mb: bad value for budget.size.max_mb; expected a number"),
        (
            ["passes.quantise-dynamic.ratio=1"],
            "the recipe has no step 'quantise-dynamic' (did you mean 'quantize-dynamic'?)",
        ),
        (
            ["passes.quantize-dynamic.ratio=1"],
            "which step 'quantize-dynamic' is not clear; expected quantize-dynamic#1 or",
        ),
        (["passes.quantize-dynamic#3.ratio=1"], "which step 'quantize-dynamic' is not clear"),
        (["passes.quantize-dynamic#x.ratio=1"], "which step 'quantize-dynamic' is not clear"),
        (
            ["passes.quantize-dynamic#1.raito=1"],
            "unknown key 'raito' in passes.quantize-dynamic (did you mean 'ratio'?)",
        ),
        (["targets.hots.tune.seconds=1"], "the recipe has no target 'hots' (did you mean 'host'?)"),
        (["targets.host.passes.canonicalize.guard=off"], "there are no passes here to change"),
        (["targets.host.targets.host=1"], "unknown key 'targets' in targets.host"),
        (["targets.host.name=other"], "two targets are called 'other'"),
        (["inputs.input.1.shape=[5]"], "--set inputs.input.1.shape: unknown key '1' in inputs.input"),
        (["inputs.x.shape=[M, 3]"], "--set inputs.x.shape: the dimension 'M' of inputs.x has no range"),
        (["version=2"], "--set version: bad value for version"),
        (["extends=lossless"], "--set extends: extends cannot be set"),
        (["seed"], "--set seed: no value given; expected PATH=VALUE"),
        (["=3"], "--set : this is not a path into a recipe"),
        (["a..b=3"], "--set a..b: this is not a path into a recipe"),
        (['inputs."x.shape=3'], "this is not a path into a recipe"),
        (["seed=[1"], "--set seed: this is not valid YAML"),
        (["seed=!!python/none"], "--set seed: the tag !!python/none is not allowed"),
        ({"seed": object()}, "--set seed: this value cannot stand in a recipe; expected text, numbers"),
        ({"seed": float("nan")}, "--set seed: the number is not finite"),
        ({"inputs": {1: 2}}, "--set inputs: this value cannot stand in a recipe"),
        ({"model": b"m"}, "--set model: this value cannot stand in a recipe"),
    ],
)
def test_a_set_that_cannot_be_applied(sets: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        load(tmp_path, sets)
    assert isinstance(caught.value, RecipeError)
