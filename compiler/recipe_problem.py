"""Check a tree against a pydantic model; say what is wrong in plain words and at its position."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from tamis.compiler import registry
from tamis.compiler.errors import RecipeError
from tamis.compiler.recipe import Recipe
from tamis.compiler.recipe_tree import Tree, describe

ModelT = TypeVar("ModelT", bound=BaseModel)
Place = tuple[int | str, ...]

EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping (key: value)",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_from_float": "an integer",
    "int_type": "an integer",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping (key: value)",
    "multiple_of": "a multiple of {multiple_of:g}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_type": "text",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "tuple_type": "a list",
}
"""Pydantic's error type -> what was expected, for ``str.format`` with the error's context."""

OWN_TYPES = ("dimension", "ordered", "one_source")
"""Errors that ``recipe`` raises itself: the message is what was expected."""


def validated(model: type[ModelT], tree: Tree, path: str = "") -> ModelT:
    """The tree as an instance of ``model``; strict: no text for numbers, no numbers for booleans.

    Args:
        model: What the tree should be.
        tree: The data.
        path: Where in the recipe it stands, for messages, e.g. ``passes.quantize-dynamic``.

    Raises:
        RecipeError: It is something else. The first problem is described, the others are counted.
    """
    try:
        return model.model_validate_json(json.dumps(tree.plain()), strict=True)
    except ValidationError as error:
        raise _first_problem(error, model, tree, path) from error


def unknown_key(path: str, key: str, known: Iterable[str], tree: Tree, more: int = 0) -> RecipeError:
    """The error for a key of the mapping ``tree`` that means nothing."""
    known = list(known)
    inside = f" in {path}" if path else ""
    return RecipeError(
        f"unknown key {key!r}{inside}{registry.nearest(key, known)}{_count(more)}",
        where=tree.mapping[key].key_where,
        expected=("one of " if len(known) > 1 else "") + ", ".join(known) if known else "no keys",
    )


def _first_problem(error: ValidationError, model: type[BaseModel], tree: Tree, path: str) -> RecipeError:
    problems: dict[Place, Mapping[str, Any]] = {}
    for details in error.errors(include_url=False):
        problems.setdefault(_reach(tree, details["loc"])[0], details)
    ranked = sorted(problems.items(), key=lambda item: item[1]["type"] != "extra_forbidden")
    place, problem = ranked[0]
    more = len(ranked) - 1
    kind, loc = problem["type"], problem["loc"]
    _, node = _reach(tree, place)
    if kind == "extra_forbidden":
        parent = _reach(tree, loc[:-1])[1]
        return unknown_key(_name(tree, loc[:-1], path), str(loc[-1]), _field_names(model, loc), parent, more)
    name = _name(tree, loc, path)
    if kind == "missing" and isinstance(loc[-1], str):
        return RecipeError(f"{name} is missing{_count(more)}", where=node.where, fix=f"add {loc[-1]!r}")
    expected = "a list of more items" if kind == "missing" else EXPECTED.get(kind)
    if kind in OWN_TYPES:
        expected = problem["msg"]
    found = describe(node.plain())
    if expected is None:
        return RecipeError(f"bad value for {name}: {_message(problem)}{_count(more)}", where=node.where, found=found)
    expected = expected.format(**problem.get("ctx", {})) if kind in EXPECTED else expected
    return RecipeError(f"bad value for {name}{_count(more)}", where=node.where, expected=expected, found=found)


def _message(problem: Mapping[str, Any]) -> str:
    text: str = problem["msg"]
    return text.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _count(more: int) -> str:
    return f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""


def _reach(tree: Tree, loc: Sequence[int | str]) -> tuple[Place, Tree]:
    """Follow an error's location as far as the tree has it (pydantic adds parts for the arms of a union)."""
    place: list[int | str] = []
    for part in loc:
        if isinstance(part, int) and part < len(tree.items):
            tree = tree.items[part]
        elif isinstance(part, str) and part in tree.mapping:
            tree = tree.mapping[part]
        else:
            break
        place.append(part)
    return tuple(place), tree


def _name(tree: Tree, loc: Sequence[int | str], path: str) -> str:
    """The path that ``--set`` would use: list entries by the name of the step or the machine."""
    parts = [path] if path else []
    for i, part in enumerate(loc):
        here = _reach(tree, loc[: i + 1])[1]
        entry = (here.mapping.get("name") or here.mapping.get("machine")) if isinstance(part, int) else None
        if entry is not None:
            parts.append(str(entry.value))
        elif isinstance(part, int):
            parts.append(f"item {part + 1}")
        else:
            parts.append(part)
    return ".".join(parts) or "the recipe"


def _field_names(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Names of the keys that the model at ``loc``'s parent knows."""
    above = ["extends"] if model is Recipe and len(loc) == 1 else []
    for part in loc[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        model = (_model_in(field.annotation) if field else None) or model
    return [*(name for name, field in model.model_fields.items() if not field.exclude), *above]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
