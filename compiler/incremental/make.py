"""``tamis compile`` as a step of a build: leave what is up to date, take what the cache has, build the rest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tamis.compiler.bundle import is_output
from tamis.compiler.cache.entry import BlobLostError, Entry
from tamis.compiler.incremental.build_key import BuildKey, build_key
from tamis.compiler.incremental.stamp import stamped, write_stamp
from tamis.compiler.recipe_file import MergedRecipe
from tamis.compiler.staging import check_output, staged

if TYPE_CHECKING:
    from tamis.compiler.cache.store import Store

ARCHIVE = ".zip"
KIND = "bundle"
State = Literal["built", "restored", "up to date"]


@dataclass(frozen=True)
class Made:
    """What a build came to.

    Args:
        paths: The bundles, in the recipe's order.
        state: Whether they were built, taken from the cache, or left as they were.
        files: What the build read: recipes, the model with its external data, samples; only recipes where samples come from
            a plug-in.
    """

    paths: tuple[Path, ...]
    state: State
    files: tuple[Path, ...]


def make(
    merged: MergedRecipe,
    out: Path,
    *,
    force: bool = False,
    loader: bool = False,
    quiet: bool = False,
) -> Made:
    """See to it that ``out`` holds the bundles of a recipe.

    Args:
        merged: The recipe.
        out: As for ``compile_recipe``.
        force: Build all of it, whatever is there already.
        loader: Write a loader that needs no tamis into each bundle.
        quiet: No progress bars.

    Raises:
        TamisError: As ``compile_recipe``.
    """
    from tamis.compiler.cache.store import open_store

    out = out.absolute()
    store = open_store()
    key = build_key(merged, store, loader=loader)
    if key is not None and not force:
        if found := stamped(out, key.digest):
            return Made(tuple(found), "up to date", key.files)
        if store is not None and (entry := store.get(key.digest, check=True)):
            with suppress(BlobLostError):  # then it is built, and kept in the place of what was lost
                return Made(_restore(store, entry, out), "restored", key.files)
    return _build(merged, out, key, store, force=force, loader=loader, quiet=quiet)


def _build(
    merged: MergedRecipe,
    out: Path,
    key: BuildKey | None,
    store: Store | None,
    *,
    force: bool,
    loader: bool,
    quiet: bool,
) -> Made:
    from tamis.compiler.driver import compile_recipe

    def finish(folders: list[Path]) -> None:
        """Stamp the bundles with the key as it is now, after searches have added their records, and keep them."""
        now = build_key(merged, store, loader=loader)
        if now is None or key is None or now.inputs != key.inputs:
            return
        write_stamp(folders, now.digest)
        if store is not None:
            _keep(store, now.digest, folders, str(merged.tree.mapping["model"].value))

    steps = None if force else store
    bundles = compile_recipe(merged.checked(), out, store=steps, finish=finish, loader=loader, quiet=quiet)
    return Made(tuple(bundle.path for bundle in bundles), "built", key.files if key else merged.files)


def _keep(store: Store, key: str, folders: list[Path], model: str) -> None:
    names = [folder.name for folder in folders] if len(folders) > 1 else [""]
    files = {
        "/".join(filter(None, (name, path.relative_to(folder).as_posix()))): path
        for name, folder in zip(names, folders, strict=True)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    store.put(key, KIND, {"targets": list(names), "model": model}, files)


def _restore(store: Store, entry: Entry, out: Path) -> tuple[Path, ...]:
    """Publish the bundles of an entry, after the look that a bundle at ``out`` gets before it is left there.

    Raises:
        BlobLostError: A file is lost, or the files are no bundles of that key: an entry may come from elsewhere.
    """
    from tamis.compiler.bundle import write_archive

    check_output(out, is_output)
    with staged(out, replaceable=is_output) as staging:
        for name, record in entry.files.items():
            path = staging.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.restore(record, path)
        found = stamped(staging.folder, entry.key) if entry.kind == KIND else None
        if found is None:
            raise BlobLostError(f"{entry.key} gives no bundle of that key")
        places = [path.relative_to(staging.folder) for path in found]
        if out.suffix == ARCHIVE:
            staging.single = True
            write_archive(staging.folder, staging.folder / staging.out.name)
    return tuple(out / place for place in places)
