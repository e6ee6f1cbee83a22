"""Read a build file and those that it includes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tamis.compiler.building.build_file import BuildFile
from tamis.compiler.errors import RecipeError
from tamis.compiler.recipe_check import build
from tamis.compiler.recipe_file import read_text
from tamis.compiler.recipe_problem import validated
from tamis.compiler.recipe_tree import Tree, describe
from tamis.compiler.recipe_yaml import parse_value

MAX_INCLUDES = 100
SHORT_FORMS = (("models", "path"), ("recipes", "recipe"))
"""List -> the key that an entry which is only text stands for."""


@dataclass(frozen=True)
class LoadedBuild:
    """A build file that was read.

    Args:
        data: What it says.
        tree: The same with positions, short forms written out.
        path: The file.
    """

    data: BuildFile
    tree: Tree
    path: Path

    @property
    def folder(self) -> Path:
        """What relative paths in it are relative to."""
        return self.path.parent


def read_builds(path: Path) -> list[LoadedBuild]:
    """The build file and, before it, all that it includes, each file once.

    Raises:
        RecipeError: A file cannot be read, says something wrong, or files include each other in a circle.
        RegistryError: A target names a machine or a runtime that does not exist.
    """
    found: dict[Path, LoadedBuild] = {}
    _read(path, (), found, None)
    return list(found.values())


def _read(path: Path, chain: tuple[Path, ...], found: dict[Path, LoadedBuild], where: str | None) -> None:
    identity = path.resolve()
    if identity in chain:
        names = " -> ".join(p.name for p in (*chain[chain.index(identity) :], identity))
        raise RecipeError(
            "build files include each other in a circle", where=where, found=names, fix="remove one 'include'"
        )
    if identity in found:
        return
    if len(chain) + len(found) >= MAX_INCLUDES:
        raise RecipeError("too many build files are included", where=where, expected=f"at most {MAX_INCLUDES}")
    if not path.is_file():
        raise RecipeError("there is no such build file", where=where or str(path), found=f"nothing at {path}")
    loaded = _load(path)
    for name, node in zip(loaded.data.include, _items(loaded.tree, "include"), strict=True):
        _read(path.parent / name, (*chain, identity), found, node.where)
    found[identity] = loaded


def _load(path: Path) -> LoadedBuild:
    tree = parse_value(read_text(path, str(path)), str(path))
    if not isinstance(tree.value, dict):
        raise RecipeError(
            "this is not a build file",
            where=tree.where,
            expected="a mapping that starts with 'version: 1'",
            found=describe(tree.plain()),
        )
    tree = _written_out(tree)
    data = validated(BuildFile, tree, "build")
    if data.targets is not None:
        _check_targets(tree)
    if not data.include:
        for key in ("models", "recipes"):
            if not getattr(data, key):
                raise RecipeError(f"there are no {key}", where=tree.where, fix=f"add '{key}: [...]', or an 'include'")
    return LoadedBuild(data, tree, path)


def _written_out(tree: Tree) -> Tree:
    """Without what is null, and with the short forms as mappings."""
    sections = {key: child for key, child in tree.mapping.items() if child.value is not None}
    for key, main in SHORT_FORMS:
        if key in sections and isinstance(sections[key].value, list):
            sections[key] = replace(sections[key], value=[_entry(item, main) for item in sections[key].items])
    return replace(tree, value=sections)


def _entry(item: Tree, main: str) -> Tree:
    return replace(item, value={main: replace(item, key_where=item.where)}) if isinstance(item.value, str) else item


def _check_targets(tree: Tree) -> None:
    """As a recipe's targets are checked, at the positions of the build file."""
    steps = Tree([], tree.where, tree.where)
    build(Tree({"version": tree.mapping["version"], "passes": steps, "targets": tree.mapping["targets"]}, tree.where))


def _items(tree: Tree, key: str) -> list[Tree]:
    return tree.mapping[key].items if key in tree.mapping else []
