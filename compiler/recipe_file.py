"""Reading and writing recipes.

``merge_recipe`` finds the file, follows ``extends`` and applies ``--set``; ``load_recipe`` then checks everything and fills
in the defaults; ``dump_recipe`` writes a resolved recipe so that loading it gives the same recipe again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from tamis.compiler import registry
from tamis.compiler.errors import RecipeError
from tamis.compiler.plain_file import is_file, what_is_at
from tamis.compiler.recipe import SCHEMA_VERSION, Recipe
from tamis.compiler.recipe_check import build
from tamis.compiler.recipe_merge import apply_sets, merge, rebase, relative
from tamis.compiler.recipe_tree import Tree, describe
from tamis.compiler.recipe_yaml import MAX_BYTES, Dumper, parse
from tamis.compiler.step_groups import expand_groups

MAX_EXTENDS = 10
SHIPPED = "shipped:"


@dataclass(frozen=True)
class LoadedRecipe:
    """A resolved recipe and where it comes from.

    Args:
        recipe: With ``extends`` and ``--set`` applied and every default filled in.
        folder: What relative paths in the recipe are relative to: the folder of its file, or the current
            folder for a shipped recipe.
        origin: The path of the file, or the name of the shipped recipe.
        files: The recipe files that were read, shipped ones left out.
    """

    recipe: Recipe
    folder: Path
    origin: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class MergedRecipe:
    """A recipe with ``extends`` and ``--set`` applied, and nothing checked: enough to tell whether it has changed.

    Args:
        tree: What it says.
        folder, origin, files: See ``LoadedRecipe``.
    """

    tree: Tree
    folder: Path
    origin: str
    files: tuple[Path, ...]

    def checked(self) -> LoadedRecipe:
        """The resolved recipe.

        Raises:
            RecipeError, RegistryError: See ``load_recipe``.
        """
        return LoadedRecipe(build(self.tree), self.folder, self.origin, self.files)


@dataclass(frozen=True)
class _Source:
    file: Path | Traversable
    name: str
    origin: str
    folder: Path
    identity: str


def load_recipe(
    source: str | Path, *, model: Path | None = None, sets: Sequence[str] | Mapping[str, Any] = ()
) -> LoadedRecipe:
    """Read a recipe from a file or by the name of a shipped one.

    Args:
        source: Path of a YAML file, or the name of a shipped recipe.
        model: The model to compile instead of the recipe's; relative to the current folder.
        sets: ``PATH=VALUE`` texts or a mapping of path to value, as in ``recipe_merge``. Relative paths in
            them are relative to the recipe's folder, as if they stood in the recipe.

    Raises:
        RecipeError: The file cannot be read, or what it says (with ``extends`` and ``sets``) makes no sense.
        RegistryError: A recipe, pass, machine, runtime, metric or data set of a given name does not exist.
    """
    return merge_recipe(source, model=model, sets=sets).checked()


def merge_recipe(
    source: str | Path, *, model: Path | None = None, sets: Sequence[str] | Mapping[str, Any] = ()
) -> MergedRecipe:
    """The first half of ``load_recipe``, which has the arguments and errors."""
    found = _find(source, Path())
    files: list[Path] = []
    tree = expand_groups(apply_sets(_read(found, (), files), sets))
    if model is not None:
        path = relative(model, Path(), found.folder)
        tree = merge(tree, Tree({"model": Tree(path, "the given model")}, "the given model"))
    return MergedRecipe(tree, found.folder, found.origin, tuple(files))


def folder_of(source: str | Path) -> Path:
    """What relative paths in a recipe are relative to, see ``LoadedRecipe``."""
    return _find(source, Path()).folder


def _find(source: str | Path, folder: Path, where: str | None = None) -> _Source:
    name = str(source)
    if isinstance(source, str) and name in registry.recipe_names():
        return _Source(files("tamis.recipes") / f"{name}.yaml", f"{name}.yaml", name, Path(), SHIPPED + name)
    path = folder / source
    if is_file(path):
        return _Source(path, str(path), str(path), path.parent, str(path.resolve()))
    if what_is_at(path) != "nothing":
        raise RecipeError(
            "this is not a file", where=where or name, found=str(path), fix="give the recipe's .yaml file"
        )
    if isinstance(source, str) and path.name == name and path.suffix not in (".yaml", ".yml", ".json"):
        raise registry.unknown("recipe", name, registry.recipe_names(), where=where)
    raise RecipeError("there is no such recipe file", where=where or name, found=f"nothing at {path}")


def _read(source: _Source, chain: tuple[str, ...], files: list[Path], where: str | None = None) -> Tree:
    """The tree of one recipe with its bases merged in; the files of both are added to ``files``."""
    if source.identity in chain or len(chain) == MAX_EXTENDS:
        names = " -> ".join(Path(name).name for name in (*chain, source.identity))
        problem = "recipes extend each other in a circle" if source.identity in chain else "too many recipes extended"
        raise RecipeError(problem, where=where, found=names, fix="remove one 'extends'")
    tree = expand_groups(parse(read_text(source.file, source.name), source.name))
    if isinstance(source.file, Path) and not source.identity.startswith(SHIPPED):
        files.append(source.file)
    _check_version(tree)
    base = tree.mapping.get("extends")
    own = replace(tree, value={key: child for key, child in tree.mapping.items() if key != "extends"})
    if base is None or base.value is None:
        return own
    if not isinstance(base.value, str) or not base.value:
        raise RecipeError(
            "bad value for extends",
            where=base.where,
            expected="a shipped recipe or a path",
            found=describe(base.plain()),
        )
    below = _find(base.value, source.folder, base.where)
    inherited = _read(below, (*chain, source.identity), files, base.where)
    if not below.identity.startswith(SHIPPED):
        inherited = rebase(inherited, below.folder, source.folder)
    return replace(merge(inherited, own), where=own.where)


def _check_version(tree: Tree) -> None:
    version = tree.mapping.get("version")
    if version is None:
        raise RecipeError(
            "version is missing", where=tree.where, fix=f"begin the recipe with 'version: {SCHEMA_VERSION}'"
        )
    if version.value != SCHEMA_VERSION or isinstance(version.value, bool | float):
        raise RecipeError(
            "this tamis cannot read that version of the format",
            where=version.where,
            expected=str(SCHEMA_VERSION),
            found=describe(version.plain()),
        )


def read_text(file: Path | Traversable, name: str) -> str:
    """The text of a recipe or of another file written like one; ``name`` is for messages.

    Raises:
        RecipeError: It cannot be read, is too large, or is not UTF-8.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror or error}", where=name) from error
    if len(data) > MAX_BYTES:
        raise RecipeError("the file is too large", where=name, expected=f"at most {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        where = f"{name}:{line}:{column}"
        raise RecipeError("the file is not UTF-8 text", where=where, found=f"byte 0x{data[error.start]:02x}") from error


def resolved(recipe: Recipe) -> dict[str, Any]:
    """A resolved recipe as plain JSON data in the shape of a recipe file, keys in the order of the models.

    What is not given and has no default is left out.
    """
    data = recipe.model_dump(mode="json", exclude_none=True, exclude={"passes", "targets"})
    targets = []
    for target in recipe.targets:
        entry = target.model_dump(
            mode="json", exclude_none=True, exclude={"passes"} if target.runtime else {"passes", "options"}
        )
        if target.passes is not None:
            entry["passes"] = [{step.name: step.options} for step in target.passes]
        targets.append(entry)
    lists = {"passes": [{step.name: step.options} for step in recipe.passes], "targets": targets}
    return {
        key: lists[key] if key in lists else data[key] for key in Recipe.model_fields if key in lists or key in data
    }


def dump_recipe(recipe: Recipe) -> str:
    """A resolved recipe as YAML text; ``load_recipe`` of it gives an equal recipe."""
    return yaml.dump(resolved(recipe), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None)
