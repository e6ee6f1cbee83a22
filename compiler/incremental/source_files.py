"""The files that a build reads, with their digests: the model with its external data, and samples."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.compiler.errors import ModelError
from tamis.compiler.plain_file import is_file

if TYPE_CHECKING:
    from tamis.compiler.cache.store import Store

MODEL = "model"
EXTERNAL = "external"
"""Kind of the cache's entries that tell which files hold the weights of a model file."""


@dataclass(frozen=True)
class SourceFile:
    """A file that a build reads.

    Args:
        role: What it is read as: ``model``, or the key of the samples in the recipe.
        name: What the recipe, the model or the list calls it; free of the folder in which all of them lie.
        path: Where it is.
        sha256: Of its content, hexadecimal.
    """

    role: str
    name: str
    path: Path
    sha256: str


def source_files(recipe: Mapping[str, Any], folder: Path, store: Store | None) -> list[SourceFile] | None:
    """The model and all samples of a recipe.

    Args:
        recipe: As merged, unchecked.
        folder: What its paths are relative to.
        store: Remembers which files hold the weights of a model; None parses the model each time.

    Returns:
        None if that cannot be told from files: something is missing, or samples come from a plug-in.
    """
    data = recipe.get("data")
    places = data.items() if isinstance(data, dict) else ()
    found = [
        _model(recipe.get("model"), folder, store),
        *(_samples(str(role), place, folder) for role, place in places if place),
    ]
    return None if None in found else [file for files in found for file in files or ()]


def _model(name: object, folder: Path, store: Store | None) -> list[SourceFile] | None:
    model = _read(MODEL, name, folder / name) if isinstance(name, str) else None
    names = None if model is None else _external_names(model, store)
    if model is None or names is None:
        return None
    return _all([model, *(_read(MODEL, name, model.path.parent / name) for name in names)])


def _external_names(model: SourceFile, store: Store | None) -> list[str] | None:
    key = hashlib.sha256(f"{EXTERNAL} {model.sha256}".encode()).hexdigest()
    entry = store.get(key) if store else None
    names = entry.data.get("names") if entry else None
    if isinstance(names, list):
        return [str(name) for name in names]
    found = _parsed_names(model.path)
    if store and found is not None:
        store.put(key, EXTERNAL, {"names": list(found), "model": model.name}, {})
    return found


def _parsed_names(path: Path) -> list[str] | None:
    import onnx_ir as ir

    from tamis.compiler.model_file import initializers, load_model

    try:
        model = load_model(path)
    except ModelError:
        return None
    return sorted({str(t.location) for _, t in initializers(model) if isinstance(t, ir.ExternalTensor)})


def _samples(role: str, source: object, folder: Path) -> list[SourceFile] | None:
    for kind, files_of in FILES.items():
        place = source.get(kind) if isinstance(source, dict) else None
        if isinstance(place, str):
            path = folder / place
            return _all([_read(role, os.path.relpath(file, path), file) for file in files_of(path)]) or None
    return None


def _within(folder: Path) -> Iterable[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_file())
    except (OSError, ValueError):
        return ()


def _listed(path: Path) -> Iterable[Path]:
    """The CSV file and the files that its first column names."""
    if not is_file(path):
        return ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            names = [cells[0].strip() for cells in csv.reader(stream) if cells]
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()
    return [path, *(path.parent / name for name in names if is_file(path.parent / name))]


FILES: dict[str, Callable[[Path], Iterable[Path]]] = {
    "npz": lambda path: [path],
    "csv": _listed,
    "folder": _within,
    "images": _within,
}
"""Kind of a data source -> the files that it reads, and perhaps some more."""


def _read(role: str, name: str, path: Path) -> SourceFile | None:
    if not is_file(path):
        return None
    try:
        with path.open("rb") as stream:
            return SourceFile(role, name, path, hashlib.file_digest(stream, "sha256").hexdigest())
    except OSError:
        return None


def _all(files: list[SourceFile | None]) -> list[SourceFile] | None:
    found = [file for file in files if file is not None]
    return found if len(found) == len(files) else None
