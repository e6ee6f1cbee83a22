"""The stamp of a build: which key its bundles were built under, so that the next build can leave them as they are.

It is in ``measurements.json``, which no digest covers, with the digest of ``bundle.json``; that has the digests of
all other files. A bundle that was changed, or lost a file, is not up to date.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tamis.compiler.bundle import MANIFEST, MEASUREMENTS
from tamis.compiler.zip_file import DAMAGE

STAMP = "build"


def write_stamp(folders: Sequence[Path], key: str) -> None:
    """Stamp the bundles of one build, in the recipe's order."""
    names = [folder.name for folder in folders] if len(folders) > 1 else []
    for folder in folders:
        path = folder / MEASUREMENTS
        measurements = json.loads(path.read_text(encoding="utf-8"))
        manifest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        measurements[STAMP] = {"key": key, "manifest": manifest, "targets": names}
        path.write_text(json.dumps(measurements, indent=1) + "\n", encoding="utf-8")


def stamped(out: Path, key: str) -> list[Path] | None:
    """The bundles at ``out``, if they are whole and were built under ``key``; None otherwise."""
    try:
        with _opened(out) as root:
            first = root if (root / MANIFEST).is_file() else next(_bundles(root), None)
            if first is None:
                return None
            names = _stamp(first).get("targets") or []
            folders = [root / name for name in names] or [root]
            if not all(_is_current(folder, key) for folder in folders):
                return None
            return [out / name for name in names] or [out]
    except (*DAMAGE, TypeError, AttributeError):
        return None


@contextmanager
def _opened(out: Path) -> Iterator[Any]:
    """``out`` as a path; inside, that of the archive if it is a file."""
    if not out.is_file():
        yield out
        return
    with zipfile.ZipFile(out) as archive:
        yield zipfile.Path(archive)


def _bundles(root: Any) -> Iterator[Any]:
    return (folder for folder in root.iterdir() if (folder / MANIFEST).is_file()) if root.is_dir() else iter(())


def _stamp(folder: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MEASUREMENTS).read_text(encoding="utf-8")).get(STAMP, {})
    return found


def _is_current(folder: Any, key: str) -> bool:
    stamp = _stamp(folder)
    text = (folder / MANIFEST).read_bytes()
    if stamp.get("key") != key or stamp.get("manifest") != hashlib.sha256(text).hexdigest():
        return False
    return all(_digest(folder / name) == record["sha256"] for name, record in json.loads(text)["files"].items())


def _digest(path: Any) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
