"""The shipped recipes: loadable, documented, and accepted by the schema that editors use."""

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import pytest
import yaml

from tamis.compiler.recipe_file import load_recipe
from tamis.compiler.registry import GROUPS, recipe_names

STEPS = {
    "lossless": ["canonicalize", *GROUPS["fuse"]],
    "int8-dynamic": ["canonicalize", *GROUPS["fuse"], "quantize-dynamic"],
    "int8": ["canonicalize", *GROUPS["fuse"], "equalize-layers", "quantize-static"],
    "mixed": ["canonicalize", *GROUPS["fuse"], "equalize-layers", "quantize-static"],
    "int4-weights": ["canonicalize", *GROUPS["fuse"], "quantize-weights"],
    "prune": ["canonicalize", *GROUPS["fuse"], "eliminate-dead-channels", "prune-channels"],
    "prune-int8": [
        "canonicalize",
        *GROUPS["fuse"],
        "eliminate-dead-channels",
        "prune-channels",
        "equalize-layers",
        "quantize-static",
    ],
    "fp16": ["canonicalize", *GROUPS["fuse"], "convert-float16"],
}


def text(name: str) -> str:
    return (files("tamis.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def test_these_recipes_are_shipped() -> None:
    assert set(recipe_names()) == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_it_loads(name: str) -> None:
    recipe = load_recipe(name).recipe
    assert [step.name for step in recipe.passes] == STEPS[name]
    assert (recipe.model, recipe.inputs, recipe.data.calibration) == (None, {}, None)


@pytest.mark.parametrize("name", STEPS)
def test_it_says_what_it_is_for_and_names_the_schema(name: str) -> None:
    lines = text(name).splitlines()
    assert lines[0] == "# yaml-language-server: $schema=recipe.schema.json"
    comment = [line for line in lines[1:] if line.startswith("# ")]
    assert len(" ".join(comment)) > 80


@pytest.mark.parametrize("name", STEPS)
def test_the_committed_schema_accepts_it(name: str) -> None:
    schema = json.loads((files("tamis.recipes") / "recipe.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(text(name)))
