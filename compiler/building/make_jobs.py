"""From build files to jobs: patterns expanded, overrides merged, every recipe checked, every output path distinct."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.compiler import registry
from tamis.compiler.building.build_file import Exclusion, RecipeEntry
from tamis.compiler.building.job import Job
from tamis.compiler.building.memory import estimated
from tamis.compiler.building.read_build_file import LoadedBuild
from tamis.compiler.errors import RecipeError, RegistryError
from tamis.compiler.recipe_file import merge_recipe, resolved
from tamis.compiler.recipe_tree import Tree

PLACEHOLDERS = ("model", "recipe", "target", "folder")
OUTPUT = "build"
"""Default output folder, beside the build file."""


@dataclass
class _Model:
    path: Path
    folder: str
    sets: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Path] = field(default_factory=dict)


def make_jobs(builds: Iterable[LoadedBuild], out: Path | None) -> list[Job]:
    """Everything that is to be compiled, in the order of the files.

    Args:
        builds: What was read.
        out: The output folder, by default ``build`` beside the first file that was asked for, the last of ``builds``.

    Raises:
        RecipeError: A pattern matches no file, a recipe with its overrides makes no sense, two jobs have the same
            output path, or nothing is left to build.
        RegistryError: A recipe or a name in it does not exist.
    """
    builds = list(builds)
    base = (out or builds[-1].folder / OUTPUT).absolute()
    jobs = [job for build in builds for job in _jobs_of(build, base)]
    if not jobs:
        raise RecipeError("nothing is left to build", where=str(builds[-1].path), fix="look at 'exclude'")
    _check_distinct(jobs, builds[-1])
    return jobs


def _jobs_of(build: LoadedBuild, base: Path) -> Iterator[Job]:
    models = _models(build)
    for index, entry in enumerate(build.data.recipes):
        node = build.tree.mapping["recipes"].items[index]
        source = _recipe_source(entry, build, node)
        name = entry.name or Path(entry.recipe).stem
        for model in models:
            sets = {**build.data.set, **entry.set, **model.sets}
            for target, section in _targets(build, node, source, model, sets):
                names = (model.path.stem, name, target)
                if not any(_excluded(names, one) for one in build.data.exclude):
                    own = {key: value for key, value in sets.items() if key.split(".")[0] != "targets"}
                    place = base / _place(build, names, model.folder)
                    more = {"targets": [section]}
                    memory = estimated(model.path)
                    yield Job(
                        model.path, source, names, place, build.folder.absolute(), {**own, **more}, model.data, memory
                    )


def _models(build: LoadedBuild) -> list[_Model]:
    """One entry a file; where several entries match a file, what the later ones say goes on top."""
    found: dict[Path, _Model] = {}
    for index, entry in enumerate(build.data.models):
        node = build.tree.mapping["models"].items[index].mapping["path"]
        for path in _matches(build, entry.path, node):
            model = found.setdefault(path, _Model(path, _folder(path, build.folder)))
            model.sets.update(entry.set)
            for role in ("calibration", "evaluation"):
                if (given := getattr(entry, role)) is not None:
                    model.data[role] = (build.folder / given).absolute()
    return list(found.values())


def _matches(build: LoadedBuild, pattern: str, node: Tree) -> list[Path]:
    exact = build.folder / pattern
    if exact.is_file():
        return [exact.absolute()]
    try:
        root = Path(exact.anchor) if exact.is_absolute() and Path(pattern).is_absolute() else build.folder
        rest = str(exact.relative_to(root)) if root != build.folder else pattern
        found = sorted(path.absolute() for path in root.glob(rest) if path.is_file())
    except (ValueError, NotImplementedError, OSError) as error:
        raise RecipeError(f"this is not a pattern of files: {error}", where=node.where, found=pattern) from error
    if not found:
        raise RecipeError("no model matches", where=node.where, found=f"nothing at {exact}", fix="correct the path")
    return found


def _folder(path: Path, base: Path) -> str:
    """The folder of a model below the build file; empty for one elsewhere."""
    parent = path.parent
    return parent.relative_to(base.absolute()).as_posix() if parent.is_relative_to(base.absolute()) else ""


def _recipe_source(entry: RecipeEntry, build: LoadedBuild, node: Tree) -> str:
    """A shipped name as it is, a path made absolute."""
    names = registry.recipe_names()
    path = build.folder / entry.recipe
    if entry.recipe in names:
        return entry.recipe
    if path.is_file():
        return str(path.absolute())
    where = node.mapping["recipe"].where
    if Path(entry.recipe).suffix in (".yaml", ".yml", ".json") or "/" in entry.recipe:
        raise RecipeError("there is no such recipe file", where=where, found=f"nothing at {path}")
    raise registry.unknown("recipe", entry.recipe, names, where=where)


def _targets(
    build: LoadedBuild, node: Tree, source: str, model: _Model, sets: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """(name, section with every default) of each target, once the recipe with all overrides is known to make sense."""
    given = {} if build.data.targets is None else {"targets": list(build.data.targets)}
    recipe: str | Path = source if source in registry.recipe_names() else Path(source)
    try:
        loaded = merge_recipe(recipe, model=model.path, sets={**given, **sets}).checked()
    except (RecipeError, RegistryError) as error:
        raise _placed(error, build, node) from error
    sections = resolved(loaded.recipe)["targets"]
    return [(target.label, section) for target, section in zip(loaded.recipe.targets, sections, strict=True)]


def _placed(error: RecipeError | RegistryError, build: LoadedBuild, node: Tree) -> RecipeError | RegistryError:
    """The error at the override of the build file that it is about, if it is about one."""
    prefix = "--set "
    if not (error.where or "").startswith(prefix):
        return error
    key = (error.where or "")[len(prefix) :]
    entries = [*(build.tree.mapping["models"].items[::-1] if "models" in build.tree.mapping else []), node, build.tree]
    for entry in entries:
        found = entry.mapping["set"].mapping.get(key) if "set" in entry.mapping else None
        if found is not None:
            message = f"set {key}: {error.message}"
            return type(error)(
                message, where=found.key_where, expected=error.expected, found=error.found, fix=error.fix
            )
    return error


def _excluded(names: tuple[str, str, str], exclusion: Exclusion) -> bool:
    wanted = (exclusion.model, exclusion.recipe, exclusion.target)
    given = [(name, pattern) for name, pattern in zip(names, wanted, strict=True) if pattern is not None]
    return bool(given) and all(fnmatch.fnmatchcase(name, pattern) for name, pattern in given)


def _place(build: LoadedBuild, names: tuple[str, str, str], folder: str) -> PurePosixPath:
    values = dict(zip(PLACEHOLDERS, (*names, folder), strict=True))
    pattern = build.data.out
    where = build.tree.mapping["out"].where if "out" in build.tree.mapping else str(build.path)
    unknown = [name for name in re.findall(r"\{(.*?)\}", pattern) if name not in PLACEHOLDERS]
    if unknown:
        expected = "one of " + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        near = registry.nearest(unknown[0], PLACEHOLDERS)
        raise RecipeError(f"bad value for out: unknown {{{unknown[0]}}}{near}", where=where, expected=expected)
    text = re.sub(r"\{(.*?)\}", lambda found: values[found[1]], pattern)
    place = PurePosixPath(text)
    if place.is_absolute() or ".." in place.parts or not place.parts:
        fix = "choose the output folder with --out"
        raise RecipeError("out leads outside the output folder", where=where, found=text, fix=fix)
    return place


def _check_distinct(jobs: list[Job], build: LoadedBuild) -> None:
    taken: dict[Path, Job] = {}
    for job in jobs:
        if (other := taken.setdefault(job.out, job)) is not job:
            found = f"{other.model} and {job.model} by {other.names[1]} and {job.names[1]}"
            fix = "tell them apart in 'out', as with {folder}, or give a recipe entry a 'name'"
            raise RecipeError(f"two bundles go to {job.out}", where=str(build.path), found=found, fix=fix)
    for job in jobs:
        if (parent := next((p for p in job.out.parents if p in taken), None)) is not None:
            raise RecipeError(
                f"a bundle lies inside another, {parent}",
                where=str(build.path),
                found=str(job.out),
                fix="let 'out' end in {target}",
            )
