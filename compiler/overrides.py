"""Arguments of a call (model, machine, data files, ``set``) on top of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tamis.compiler.errors import UsageError
from tamis.compiler.recipe_file import LoadedRecipe, load_recipe
from tamis.compiler.registry import nearest

ROLES = ("calibration", "evaluation")


def load_for(
    recipe: str | Path,
    *,
    model: str | Path | None = None,
    target: str | None = None,
    data: Mapping[str, str | Path] = {},
    sets: Mapping[str, Any] = {},
) -> LoadedRecipe:
    """Load a recipe with the caller's overrides. Paths given here are relative to the working directory.

    Raises:
        RecipeError: The recipe is wrong.
        UsageError: ``data`` has a key other than calibration and evaluation.
    """
    overrides = dict(sets)
    for role, path in data.items():
        if role not in ROLES:
            raise UsageError(
                f"unknown kind of data {role!r}{nearest(role, ROLES)}", expected=" or ".join(ROLES), where="data"
            )
        overrides[f"data.{role}.{source_kind(Path(path))}"] = str(Path(path).absolute())
    if target is not None:
        overrides["targets"] = [target]
    return load_recipe(recipe, model=Path(model).absolute() if model is not None else None, sets=overrides)


def source_kind(path: Path) -> str:
    """The key of a data source that fits a path: npz, csv, or folder (images, if it holds no arrays)."""
    if path.suffix in (".npz", ".csv"):
        return path.suffix[1:]
    arrays = any(p.suffix in (".npz", ".npy") for p in path.iterdir()) if path.is_dir() else True
    return "folder" if arrays else "images"


def parse_sets(texts: Sequence[str]) -> dict[str, Any]:
    """``["a.b=1"]`` -> ``{"a.b": 1}``; values are YAML.

    Raises:
        UsageError: An entry has no ``=`` or its value is not YAML.
    """
    found = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise UsageError("not an override", where=f"--set {text}", expected="PATH=VALUE")
        try:
            found[path.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError("the value is not YAML", where=f"--set {text}", found=value) from error
    return found
