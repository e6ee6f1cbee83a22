"""Groups of steps: one name in a recipe for many passes in their order, written out when the recipe is read.

A group is spelled out before anything else looks at the steps, so ``--set``, errors, the resolved recipe and the
manifest know its passes only. Options given to a group are given to each of its passes.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.compiler.recipe_tree import Tree
from tamis.compiler.registry import GROUPS


def expand_groups(tree: Tree) -> Tree:
    """The recipe ``tree`` with the groups in its ``passes``, and in those of its targets, written out."""
    if not isinstance(tree.value, dict):
        return tree
    entries = dict(tree.value)
    if "passes" in entries:
        entries["passes"] = _expand_list(entries["passes"])
    if "targets" in entries and isinstance(entries["targets"].value, list):
        targets = entries["targets"]
        entries["targets"] = replace(targets, value=[_expand_target(item) for item in targets.items])
    return replace(tree, value=entries)


def _expand_target(target: Tree) -> Tree:
    steps = target.mapping.get("passes")
    return target if steps is None else replace(target, value={**target.mapping, "passes": _expand_list(steps)})


def _expand_list(steps: Tree) -> Tree:
    if not isinstance(steps.value, list):
        return steps
    return replace(steps, value=[step for item in steps.items for step in _expand(item)])


def _expand(item: Tree) -> list[Tree]:
    """The steps that ``NAME`` or ``NAME: {option: value}`` stands for."""
    if isinstance(item.value, str) and item.value in GROUPS:
        return [replace(item, value=name) for name in GROUPS[item.value]]
    if isinstance(item.value, dict) and len(item.value) == 1:
        [(group, options)] = item.value.items()
        if group in GROUPS:
            return [replace(item, value={name: options}) for name in GROUPS[group]]
    return [item]
