"""Arguments of a call (model, machine, data files, ``set``) on top of a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tamis.compiler.errors import UsageError
from tamis.compiler.recipe_file import LoadedRecipe, MergedRecipe, folder_of, merge_recipe
from tamis.compiler.recipe_merge import relative
from tamis.compiler.registry import nearest

ROLES = ("calibration", "evaluation")


def load_for(
    recipe: str | Path,
    *,
    model: str | Path | None = None,
    target: str | None = None,
    data: Mapping[str, str | Path | None] = {},
    sets: Sequence[str] | Mapping[str, Any] = (),
) -> LoadedRecipe:
    """Load a recipe with the caller's overrides. Paths given here are relative to the working directory.

    Args:
        recipe: Path of a recipe, or the name of a shipped one.
        model: The model instead of the recipe's.
        target: Compile for this machine only.
        data: Role (calibration, evaluation) -> npz file, CSV file or folder; None leaves the recipe's.
        sets: ``PATH=VALUE`` texts, or path -> value.

    Raises:
        RecipeError: The recipe is wrong.
        UsageError: ``data`` has another role.
    """
    return merge_for(recipe, model=model, target=target, data=data, sets=sets).checked()


def merge_for(
    recipe: str | Path,
    *,
    model: str | Path | None = None,
    target: str | None = None,
    data: Mapping[str, str | Path | None] = {},
    sets: Sequence[str] | Mapping[str, Any] = (),
) -> MergedRecipe:
    """As ``load_for``, without checking what the recipe says."""
    texts = [f"{k}={json.dumps(v)}" for k, v in sets.items()] if isinstance(sets, Mapping) else list(sets)
    for role, path in data.items():
        if role not in ROLES:
            raise UsageError(
                f"unknown kind of data {role!r}{nearest(role, ROLES)}", where="data", expected=" or ".join(ROLES)
            )
        if path is not None:
            place = relative(path, Path(), folder_of(recipe))
            texts.append(f"data.{role}.{source_kind(Path(path))}={json.dumps(place)}")
    if target is not None:
        texts.append(f"targets={json.dumps([target])}")
    return merge_recipe(recipe, model=None if model is None else Path(model), sets=texts)


def source_kind(path: Path) -> str:
    """The key of a data source that fits a path: npz, csv, or folder (images, if it holds no arrays)."""
    if path.suffix in (".npz", ".csv"):
        return path.suffix[1:]
    arrays = any(p.suffix in (".npz", ".npy") for p in path.iterdir()) if path.is_dir() else True
    return "folder" if arrays else "images"
