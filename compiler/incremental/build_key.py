"""What a build depends on, as one digest: equal keys, equal bundles, so nothing need be done.

The key covers what the recipe says (with ``extends`` and ``--set`` merged in), the content of the model and of all samples,
the code of tamis and of plug-ins, the versions of all tools, the machines, and for targets that are tuned the records of
the tuning database. Where the recipe lies and the times of files are no part of it. No runtime is imported for it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.compiler.errors import TamisError
from tamis.compiler.incremental.code_digest import code_digest
from tamis.compiler.incremental.source_files import source_files
from tamis.compiler.machine import HOST, find_machine
from tamis.compiler.recipe_file import MergedRecipe
from tamis.compiler.registry import REFERENCE_RUNTIME
from tamis.compiler.tuning_database import TuningDatabase, default_path
from tamis.compiler.versions import all_versions

if TYPE_CHECKING:
    from tamis.compiler.cache.store import Store


@dataclass(frozen=True)
class BuildKey:
    """A key and the files behind it.

    Args:
        digest: SHA-256, hexadecimal.
        inputs: The same without the records of the tuning database, to which the build itself may add.
        files: What the build reads: recipes, the model with its external data, samples.
    """

    digest: str
    inputs: str
    files: tuple[Path, ...]


def build_key(merged: MergedRecipe, store: Store | None, *, loader: bool = False) -> BuildKey | None:
    """The key of a compile for all targets of a recipe.

    Args:
        merged: The recipe; it may be wrong.
        store: Remembers which files hold the weights of a model.
        loader: The bundles get a loader of their own.

    Returns:
        None if what it depends on cannot be told from files: something is missing or wrong, or samples come from a plug-in.
    """
    recipe = merged.tree.plain()
    if not isinstance(recipe, dict):
        return None
    files = source_files(recipe, merged.folder, store)
    targets = recipe.get("targets")
    entries = targets if isinstance(targets, list) and targets else [HOST]
    try:
        machines = [find_machine(_machine(entry)).model_dump(mode="json") for entry in entries]
        records = tuned_records() if any(map(_is_tuned, entries)) else None
    except TamisError:
        return None
    if files is None:
        return None
    content = {
        "recipe": recipe,
        "files": [(file.role, file.name, file.sha256) for file in files],
        "machines": machines,
        "code": code_digest(),
        "versions": all_versions(),
        "loader": loader,
    }
    inputs = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    digest = hashlib.sha256(f"{inputs} {records}".encode()).hexdigest()
    return BuildKey(digest, inputs, (*merged.files, *(file.path for file in files)))


def _machine(target: object) -> str:
    return str(target.get("machine") if isinstance(target, dict) else target)


def _is_tuned(target: Any) -> bool:
    """Whether lowering for the target may use records of the tuning database."""
    entry = target if isinstance(target, dict) else {}
    runtime = entry.get("runtime") or find_machine(_machine(target)).runtimes[0]
    return bool(entry.get("tune")) or runtime != REFERENCE_RUNTIME


def tuned_records() -> str:
    """Digest of what searches have found on this machine; empty without a database."""
    if not default_path().is_file():
        return ""
    with TuningDatabase() as database:
        return database.tuned_digest()
