"""Plain data in which every value knows where it was written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tamis.compiler.errors import RecipeError

MAX_DEPTH = 40

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Tree:
    """A value with its position.

    Args:
        value: A mapping, a list or a scalar.
        where: ``file:line:column`` of the value, or the ``--set`` it comes from.
        key_where: The same for its key, if it stands in a mapping.
    """

    value: dict[str, Tree] | list[Tree] | Scalar
    where: str
    key_where: str = ""

    @property
    def mapping(self) -> dict[str, Tree]:
        """The entries, or none if this is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Tree]:
        """The items, or none if this is not a list."""
        return self.value if isinstance(self.value, list) else []

    def plain(self) -> Any:
        """The data without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


def describe(value: object) -> str:
    """A value in a few words, for the *found* part of a message."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:37] + '...'!r}"
    if isinstance(value, dict):
        return "a mapping with the keys " + ", ".join(list(value)[:5]) if value else "an empty mapping"
    if isinstance(value, list) and len(text := json.dumps(value, ensure_ascii=False)) <= 60:
        return text
    if isinstance(value, list):
        return f"a list of {len(value)} items" if len(value) != 1 else "a list of 1 item"
    return f"the number {value}"


def from_data(data: object, where: str, depth: int = 0) -> Tree:
    """Plain Python data as a tree, all of it at the same position.

    Raises:
        RecipeError: Something else than mappings with text keys, sequences, text, paths, numbers, booleans, None.
    """
    if isinstance(data, PurePath):
        return Tree(str(data), where, where)
    if isinstance(data, float) and not math.isfinite(data):
        raise RecipeError("the number is not finite", where=where, found=str(data))
    if data is None or isinstance(data, str | int | float):
        return Tree(data, where, where)
    if depth < MAX_DEPTH and isinstance(data, Mapping) and all(isinstance(key, str) for key in data):
        return Tree({key: from_data(child, where, depth + 1) for key, child in data.items()}, where, where)
    if depth < MAX_DEPTH and isinstance(data, Sequence) and not isinstance(data, bytes):
        return Tree([from_data(child, where, depth + 1) for child in data], where, where)
    raise RecipeError(
        "this value cannot stand in a recipe",
        where=where,
        expected="text, numbers, booleans, None, lists, or mappings with text keys",
        found=f"{type(data).__name__} {data!r:.60}",
    )
