"""Keeping the cache within its size: what was used least recently goes, what was used of late stays.

Getting or putting an entry sets the times of it and of its blobs, so the order of the files is the order of use, and no
entry has to be read to find what may go. The cache is looked through only after a twentieth of its limit was written; a
file of one byte for each ``UNIT`` written counts that for all processes, without a lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tamis.compiler.cache.blobs import OBJECTS
from tamis.compiler.cache.draft import sweep

ENTRIES = "entries"
WRITTEN = "written"
UNIT = 1 << 16
SHARE = 20
"""A look after 1/SHARE of the limit was written."""
LEAVE = 0.9
"""What is left after eviction, as a part of the limit."""
GRACE_SECONDS = 3600.0
"""What was used so lately may belong to a build that runs."""


@dataclass(frozen=True)
class Stored:
    """A file of the cache.

    Args:
        path: Where it is.
        bytes: Its size.
        used: When it was used last, nanoseconds since 1970.
        is_blob: Whether it is a blob rather than an entry.
    """

    path: Path
    bytes: int
    used: int
    is_blob: bool


@dataclass(frozen=True)
class Evicted:
    """What an eviction did, in files and bytes.

    Args:
        removed, removed_bytes: What went, or would go.
        spared, spared_bytes: What should have gone but was used too lately.
        left_bytes: What is in the cache now.
    """

    removed: int
    removed_bytes: int
    spared: int
    spared_bytes: int
    left_bytes: int


def note_written(folder: Path, size: int, limit: int) -> bool:
    """Count ``size`` bytes as written; returns whether it is time to evict.

    Raises:
        OSError: It cannot be noted.
    """
    handle = os.open(folder / WRITTEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, b"." * (size // UNIT + 1))
        due = os.fstat(handle).st_size * UNIT > limit // SHARE
        if due:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)
    return due


def stored_files(folder: Path) -> Iterator[Stored]:
    """All entries and blobs, in no order."""
    for kind in (ENTRIES, OBJECTS):
        for shard in _scan(folder / kind):
            for item in _scan(Path(shard.path)):
                try:
                    status = item.stat(follow_symlinks=False)
                except OSError:
                    continue  # evicted by another process meanwhile
                yield Stored(Path(item.path), status.st_size, status.st_mtime_ns, kind == OBJECTS)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError:
        return []


def evict(
    folder: Path,
    *,
    limit: int,
    older_than: float | None = None,
    grace: float = GRACE_SECONDS,
    dry_run: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Evicted:
    """Remove what was used least recently.

    Args:
        folder: Of the cache.
        limit: Bytes to leave at most.
        older_than: Also remove what was not used for so many seconds.
        grace: What was used in the last so many seconds stays in any case.
        dry_run: Remove nothing, only say what would go.
        progress: Called with the fraction that is done.
    """
    if not dry_run:
        sweep(folder)
    now = time.time_ns()
    files = sorted(stored_files(folder), key=lambda f: (f.used, f.is_blob))
    left = sum(f.bytes for f in files)
    removed = removed_bytes = spared = spared_bytes = 0
    for index, file in enumerate(files):
        progress(index / len(files))
        age = (now - file.used) / 1e9
        if left - spared_bytes <= limit and (older_than is None or age <= older_than):
            break
        if age < grace:
            spared, spared_bytes = spared + 1, spared_bytes + file.bytes
        elif dry_run or _remove(file):
            removed, removed_bytes, left = removed + 1, removed_bytes + file.bytes, left - file.bytes
    return Evicted(removed, removed_bytes, spared, spared_bytes, left)


def _remove(file: Stored) -> bool:
    try:
        if file.path.stat().st_mtime_ns != file.used:
            return False
        file.path.unlink()
    except OSError:
        return False
    return True
