"""From a merged tree to a resolved recipe: short forms written out, names looked up, defaults filled in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from tamis.compiler import registry
from tamis.compiler.errors import RecipeError
from tamis.compiler.machine import find_machine
from tamis.compiler.recipe import AUTO, InputSection, Recipe, Step, TargetSection
from tamis.compiler.recipe_problem import unknown_key, validated
from tamis.compiler.recipe_tree import Tree, describe

HOST = "host"
EMPTY = Tree({}, "")


def build(tree: Tree) -> Recipe:
    """The resolved recipe.

    Raises:
        RecipeError: A key, type or value is wrong, or two sections contradict each other.
        RegistryError: There is no pass, machine, runtime, metric or data set of a given name.
    """
    tree = _written_out(_without_null(tree))
    _check_input_keys(tree)
    recipe = validated(Recipe, tree)
    _check_dims(recipe, tree)
    _check_names(recipe, tree)
    passes = _filled_steps(recipe.passes, tree.mapping["passes"], "passes")
    targets = tuple(
        _filled_target(target, node) for target, node in zip(recipe.targets, tree.mapping["targets"].items, strict=True)
    )
    return recipe.model_copy(update={"passes": passes, "targets": targets})


def _without_null(tree: Tree) -> Tree:
    """``key: null`` means not given, except inside options, where it may be a value."""
    if not isinstance(tree.value, dict):
        return tree
    kept = {key: _without_null(child) for key, child in tree.value.items() if child.value is not None}
    return replace(tree, value=kept)


def _written_out(tree: Tree) -> Tree:
    sections = dict(tree.mapping)
    sections.setdefault("targets", Tree([Tree(HOST, tree.where)], tree.where, tree.where))
    if "passes" in sections:
        sections["passes"] = _steps(sections["passes"])
    sections["targets"] = _each(sections["targets"], _target)
    return replace(tree, value=sections)


def _each(tree: Tree, convert: Any) -> Tree:
    if not isinstance(tree.value, list):
        return tree
    return replace(tree, value=[convert(item) for item in tree.value])


def _steps(tree: Tree) -> Tree:
    if isinstance(tree.value, dict):
        raise RecipeError(
            "the steps must be a list", where=tree.where, found=describe(tree.plain()), fix="begin each step with '- '"
        )
    return _each(tree, _step)


def _step(item: Tree) -> Tree:
    """``NAME`` or ``NAME: {option: value}`` as name, options and position."""
    options = Tree({}, item.where, item.where)
    if isinstance(item.value, str):
        name = Tree(item.value, item.where, item.where)
    elif isinstance(item.value, dict) and len(item.value) == 1:
        [(key, child)] = item.value.items()
        name = Tree(key, child.key_where, child.key_where)
        options = replace(options, where=name.where) if child.value is None else child
    else:
        raise RecipeError(
            "this is not a step",
            where=item.where,
            expected="NAME or NAME: {option: value}",
            found=describe(item.plain()),
            fix="indent options further than the name" if len(item.mapping) > 1 else None,
        )
    return Tree({"name": name, "options": options, "where": Tree(name.where, name.where)}, item.where, item.where)


def _target(item: Tree) -> Tree:
    if isinstance(item.value, str):
        entries = {"machine": Tree(item.value, item.where, item.where)}
    elif isinstance(item.value, dict):
        entries = dict(item.value)
        if "where" in entries:
            known = [name for name, field in TargetSection.model_fields.items() if not field.exclude]
            raise unknown_key("targets", "where", known, item)
        if "passes" in entries:
            entries["passes"] = _steps(entries["passes"])
    else:
        return item
    return replace(item, value={**entries, "where": Tree(item.where, item.where)})


def _check_input_keys(tree: Tree) -> None:
    """The keys of an input are those of the model and the dimensions named in its shape."""
    for name, section in tree.mapping.get("inputs", EMPTY).mapping.items():
        shape = section.mapping.get("shape")
        dims = [item.value for item in shape.items if isinstance(item.value, str)] if shape else []
        known = (*InputSection.model_fields, *dims)
        for key in section.mapping:
            if key not in known:
                raise unknown_key(f"inputs.{name}", key, known, section)


def _check_dims(recipe: Recipe, tree: Tree) -> None:
    """Each dynamic dimension has exactly one range."""
    ranges: dict[str, tuple[int, int]] = {}
    inputs = tree.mapping.get("inputs", EMPTY).mapping
    for name, section in recipe.inputs.items():
        for dim, given in section.dims.items():
            if ranges.setdefault(dim, given) != given:
                raise RecipeError(
                    f"the dimension {dim!r} has two ranges",
                    where=inputs[name].mapping[dim].where,
                    found=f"{list(ranges[dim])} and {list(given)}",
                    fix="give the range once, or use two names",
                )
    for name, section in recipe.inputs.items():
        for size, node in zip(section.shape, inputs[name].mapping["shape"].items, strict=True):
            if isinstance(size, str) and size not in ranges:
                fix = f"add {size}: [1, 8], with your smallest and largest size, beside the shape"
                raise RecipeError(f"the dimension {size!r} of inputs.{name} has no range", where=node.where, fix=fix)


def _check_names(recipe: Recipe, tree: Tree) -> None:
    for use, node in tree.mapping.get("data", EMPTY).mapping.items():
        source = getattr(recipe.data, use, None)
        for key, kind in (("metric", "metrics"), ("dataset", "datasets")):
            if source is not None and getattr(source, key) is not None:
                _known(registry.KIND_NAMES[kind], getattr(source, key), registry.table(kind), node.mapping[key])
    labels = Counter(target.label for target in recipe.targets)
    for target, node in zip(recipe.targets, tree.mapping["targets"].items, strict=True):
        _known("machine", target.machine, (HOST, *registry.machine_names()), node.mapping["machine"])
        if target.runtime is not None:
            _known("runtime", target.runtime, (*registry.table("targets"), AUTO), node.mapping["runtime"])
        if labels[target.label] > 1:
            fix = "give one of them another 'name'"
            raise RecipeError(f"two targets are called {target.label!r}", where=target.where, fix=fix)


def _known(kind: str, name: str, known: Iterable[str], node: Tree) -> None:
    if name not in known:
        raise registry.unknown(kind, name, known, where=node.where)


def _filled_steps(steps: tuple[Step, ...], tree: Tree, path: str) -> tuple[Step, ...]:
    filled = []
    for step, node in zip(steps, tree.items, strict=True):
        _known("pass", step.name, registry.table("passes"), node.mapping["name"])
        options_type = registry.pass_class(step.name).options_type
        options = _filled(options_type, node.mapping["options"], f"{path}.{step.name}")
        filled.append(step.model_copy(update={"options": options}))
    return tuple(filled)


def _filled_target(target: TargetSection, tree: Tree) -> TargetSection:
    path = f"targets.{target.label}"
    changes: dict[str, Any] = {}
    if target.passes is not None:
        changes["passes"] = _filled_steps(target.passes, tree.mapping["passes"], f"{path}.passes")
    given = tree.mapping.get("options", Tree({}, tree.where, tree.where))
    machine = find_machine(target.machine)
    if target.runtime == AUTO:
        changes["options"] = _filled_candidates(machine.runtimes, given, f"{path}.options")
    else:
        options_type = registry.runtime_class(target.runtime or machine.runtimes[0]).options_type
        changes["options"] = _filled(options_type, given, f"{path}.options")
    return target.model_copy(update=changes)


def _filled_candidates(runtimes: Iterable[str], tree: Tree, path: str) -> dict[str, Any]:
    """Options of ``runtime: auto``: those of each runtime under its name."""
    for name in tree.mapping:
        if name not in runtimes:
            raise unknown_key(path, name, tuple(runtimes), tree)
    none = Tree({}, tree.where, tree.where)
    return {
        name: _filled(registry.runtime_class(name).options_type, tree.mapping.get(name, none), f"{path}.{name}")
        for name in runtimes
    }


def _filled(options_type: type[BaseModel], tree: Tree, path: str) -> dict[str, Any]:
    return validated(options_type, tree, path).model_dump(mode="json")
