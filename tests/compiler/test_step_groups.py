"""A group of steps is written out before anything else reads the recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.compiler.errors import RecipeError
from tamis.compiler.recipe import Recipe
from tamis.compiler.recipe_file import load_recipe, resolved
from tamis.compiler.registry import GROUPS, TABLE, pass_class
from tests.toy_registry import write

FUSE = GROUPS["fuse"]


def load(folder: Path, passes: str, sets: tuple[str, ...] = (), more: str = "") -> Recipe:
    return load_recipe(write(folder, "recipe.yaml", f"version: 1\npasses: {passes}\n{more}"), sets=sets).recipe


def test_a_group_stands_for_its_passes_in_order(tmp_path: Path) -> None:
    recipe = load(tmp_path, "[canonicalize, fuse, quantize-dynamic]")
    assert [step.name for step in recipe.passes] == ["canonicalize", *FUSE, "quantize-dynamic"]
    assert "fuse" not in str(resolved(recipe)["passes"]).replace("fuse-", "")


def test_options_go_to_every_pass(tmp_path: Path) -> None:
    recipe = load(tmp_path, "[{fuse: {guard: 'off'}}]")
    assert [step.options["guard"] for step in recipe.passes] == ["off"] * len(FUSE)


def test_one_pass_of_a_group_can_be_addressed(tmp_path: Path) -> None:
    recipe = load(tmp_path, "[fuse]", ("passes.fuse-silu.guard=off",))
    assert [step.name for step in recipe.passes if step.options["guard"] == "off"] == ["fuse-silu"]


def test_groups_in_sets_and_targets(tmp_path: Path) -> None:
    recipe = load(tmp_path, "[canonicalize]", ("passes=[fuse]",), "targets: [{machine: host, passes: [fuse]}]")
    assert [step.name for step in recipe.passes] == list(FUSE)
    assert recipe.targets[0].passes is not None
    assert [step.name for step in recipe.targets[0].passes] == list(FUSE)


def test_a_wrong_option_of_a_group_has_its_place(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml:2:18"):
        load(tmp_path, "[{fuse: {guards: off}}]")


@pytest.mark.parametrize("group", GROUPS)
def test_members_are_lossless_passes_and_the_name_is_free(group: str) -> None:
    assert group not in TABLE["passes"]
    assert len(set(GROUPS[group])) == len(GROUPS[group])
    assert {pass_class(name).contract.value for name in GROUPS[group]} <= {"exact", "close"}
