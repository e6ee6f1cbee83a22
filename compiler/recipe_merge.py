"""How recipes combine: ``extends`` and ``--set``.

Mappings merge key by key, whatever the depth; anything else (lists too) is replaced as a whole; ``null``
unsets. Two keys give way to their replacement: the range of a dynamic dimension that a new ``shape`` no
longer has, and the source of data when another kind of source is given. ``--set a.b=v`` is the same as a
recipe ``{a: {b: v}}`` that extends the given one, where an entry of a list of steps or targets is addressed
by its name: ``passes.NAME.OPTION``, ``passes.NAME#2.OPTION`` for the second step of that name,
``targets.NAME.KEY``. A name with dots is put in double quotes: ``inputs."input.1".shape``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from tamis.compiler import registry
from tamis.compiler.errors import RecipeError
from tamis.compiler.recipe import FILE_KINDS, SOURCE_KINDS
from tamis.compiler.recipe_tree import Tree, from_data
from tamis.compiler.recipe_yaml import parse_value

PATH_KEYS = [("model",), *(("data", use, kind) for use in ("calibration", "evaluation") for kind in FILE_KINDS)]
"""Keys whose value is a path relative to the recipe's folder."""


def merge(base: Tree, over: Tree, path: tuple[str, ...] = ()) -> Tree:
    """``base`` with what ``over`` says put on top of it; a mapping in both keeps its position in ``base``."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = {key: child for key, child in base.value.items() if not _gives_way(path, key, over.value)}
    for key, child in over.value.items():
        merged[key] = merge(merged[key], child, (*path, key)) if key in merged else child
    return replace(base, value=merged)


def _gives_way(path: tuple[str, ...], key: str, over: Mapping[str, Tree]) -> bool:
    if len(path) != 2 or key in over:
        return False
    if path[0] == "inputs" and "shape" in over:
        return key not in ("shape", "range", *(item.value for item in over["shape"].items))
    given = [kind for kind in SOURCE_KINDS if kind in over and over[kind].value is not None]
    return path[0] == "data" and key in SOURCE_KINDS and bool(given)


def rebase(tree: Tree, old: Path, new: Path) -> Tree:
    """Make relative paths of a recipe in the folder ``old`` relative to the folder ``new``."""
    for keys in PATH_KEYS:
        leaf: Tree | None = tree
        for key in keys:
            leaf = leaf.mapping.get(key) if leaf else None
        if leaf and isinstance(leaf.value, str):
            tree = merge(tree, nest(keys, replace(leaf, value=relative(leaf.value, old, new))))
    return tree


def relative(path: str | PurePath, old: Path, new: Path) -> str:
    """``path``, relative to the folder ``old``, as seen from the folder ``new``. An absolute path stays as it is."""
    if Path(path).is_absolute():
        return str(path)
    return PurePath(os.path.relpath(old / path, new)).as_posix()


def nest(keys: Sequence[str], leaf: Tree) -> Tree:
    """``{a: {b: leaf}}`` for the keys a, b."""
    for key in reversed(keys):
        leaf = Tree({key: replace(leaf, key_where=leaf.key_where or leaf.where)}, leaf.where, leaf.where)
    return leaf


def apply_sets(tree: Tree, sets: Sequence[str] | Mapping[str, Any]) -> Tree:
    """Apply ``PATH=VALUE`` texts (the value is YAML), or a mapping of paths to plain data, in order.

    Raises:
        RecipeError: Not of that form, a value that is not YAML, or no list entry of that name.
        RegistryError: A step or target is addressed that the recipe does not have.
    """
    pairs = sets.items() if isinstance(sets, Mapping) else [_split(text) for text in sets]
    for path, value in pairs:
        where = f"--set {path}"
        leaf = parse_value(value, "--set", where=where) if not isinstance(sets, Mapping) else from_data(value, where)
        tree = _apply(tree, _keys(path), replace(leaf, key_where=where))
    return tree


def _split(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise RecipeError("no value given", where=f"--set {text}", expected="PATH=VALUE, as in budget.size.max_mb=3")
    return path.strip(), value


def _keys(path: str) -> list[str]:
    keys = [quoted or bare for quoted, bare in re.findall(r'(?:^|\.)(?:"([^"]+)"|([^".]+))', path)]
    if keys == ["extends"]:
        raise RecipeError("extends cannot be set", where="--set extends", fix="write it in a recipe file")
    if not keys or ".".join(keys) != path.replace('"', ""):
        expected = (
            'keys joined by dots, as in budget.size.max_mb; a key with dots in quotes, as in inputs."input.1".shape'
        )
        raise RecipeError("this is not a path into a recipe", where=f"--set {path}", expected=expected)
    return keys


def _apply(tree: Tree, keys: list[str], leaf: Tree, lists: tuple[str, ...] = ("passes", "targets")) -> Tree:
    if len(keys) == 1 or keys[0] not in lists:
        return merge(tree, nest(keys, leaf))
    kind, name, *rest = keys
    entries = _entries(tree, kind, leaf.where)
    index = _find(entries, kind, name, leaf.where)
    if kind == "passes":
        entries[index] = merge(entries[index], nest([name.partition("#")[0], *rest], leaf))
    else:
        entries[index] = _apply(entries[index], rest, leaf, ("passes",)) if rest else merge(entries[index], leaf)
    return merge(tree, nest([kind], Tree(list(entries), leaf.where)))


def _entries(tree: Tree, kind: str, where: str) -> list[Tree]:
    """The steps or targets, each as a mapping."""
    found = tree.mapping.get(kind)
    if found is None and kind == "targets":
        found = Tree([Tree("host", where)], where)
    if found is None or not isinstance(found.value, list):
        raise RecipeError(f"there are no {kind} here to change", where=where, fix=f"give {kind} as a whole list first")
    return [_entry(item, kind) for item in found.value]


def _entry(item: Tree, kind: str) -> Tree:
    """A step or target as a mapping, so that keys can be put into it."""
    if isinstance(item.value, str):
        key, child = (item.value, Tree({}, item.where)) if kind == "passes" else ("machine", item)
        return Tree({key: replace(child, key_where=item.where)}, item.where)
    bare = {key: replace(child, value={}) for key, child in item.mapping.items() if child.value is None}
    return replace(item, value={**item.mapping, **bare}) if kind == "passes" and bare else item


def _find(entries: list[Tree], kind: str, name: str, where: str) -> int:
    names = [_name(entry, kind) for entry in entries]
    bare, _, number = name.partition("#")
    places = [i for i, found in enumerate(names) if found == bare]
    what = "step" if kind == "passes" else "target"
    if not places:
        expected = "one of " + ", ".join(dict.fromkeys(names)) if names else None
        raise RecipeError(
            f"the recipe has no {what} {bare!r}{registry.nearest(bare, names)}", where=where, expected=expected
        )
    if not number and len(places) == 1:
        return places[0]
    if number.isdecimal() and 1 <= int(number) <= len(places):
        return places[int(number) - 1]
    expected = " or ".join(f"{bare}#{i + 1}" for i in range(len(places)))
    raise RecipeError(f"which {what} {bare!r} is not clear", where=where, expected=expected, found=name)


def _name(entry: Tree, kind: str) -> str:
    keys = list(entry.mapping)
    if kind == "passes":
        return keys[0] if keys else ""
    named = entry.mapping.get("name") or entry.mapping.get("machine")
    return str(named.value) if named else ""
