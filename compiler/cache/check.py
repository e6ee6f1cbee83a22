"""Checking the whole cache: every blob is hashed again, every entry read, and what is wrong is removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tamis.compiler.cache.blobs import record_of
from tamis.compiler.cache.draft import sweep
from tamis.compiler.cache.entry import EntryError
from tamis.compiler.cache.evict import Stored, stored_files
from tamis.compiler.cache.store import Store


@dataclass(frozen=True)
class Damaged:
    """A file that is wrong.

    Args:
        path: Relative to the folder of the cache.
        reason: What is wrong with it.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Checked:
    """What was looked at.

    Args:
        entries, blobs: How many.
        bytes: Of all of them.
        damaged: What is wrong.
    """

    entries: int
    blobs: int
    bytes: int
    damaged: tuple[Damaged, ...]


def check_store(
    store: Store, *, dry_run: bool = False, progress: Callable[[float], None] = lambda fraction: None
) -> Checked:
    """Check all blobs and entries.

    Args:
        store: The store; other processes may use it meanwhile.
        dry_run: Remove nothing.
        progress: Called with the fraction that is done.

    Raises:
        OSError: Something damaged cannot be removed.
    """
    if not dry_run:
        sweep(store.folder)
    files = sorted(stored_files(store.folder), key=lambda f: (not f.is_blob, f.path))
    total = sum(f.bytes for f in files) or 1
    done, damaged, lost = 0, [], set[Path]()
    for file in files:
        reason = _blob_problem(store, file) if file.is_blob else _entry_problem(store, file, lost)
        if reason is not None:
            damaged.append(Damaged(file.path.relative_to(store.folder).as_posix(), reason))
            lost.add(file.path)
            if not dry_run:
                file.path.unlink(missing_ok=True)
        done += file.bytes
        progress(done / total)
    blobs = sum(f.is_blob for f in files)
    return Checked(len(files) - blobs, blobs, done, tuple(damaged))


def _blob_problem(store: Store, file: Stored) -> str | None:
    try:
        record = record_of(file.path)
        return None if store.blobs.path(record) == file.path else "its content has another digest"
    except FileNotFoundError:
        return None  # evicted meanwhile
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _entry_problem(store: Store, file: Stored, lost: set[Path]) -> str | None:
    try:
        entry = store.entries.read(file.path.stem)
        if store.entries.path(entry.key) != file.path:
            return "is at the wrong place"
    except FileNotFoundError:
        return None if not file.path.exists() else "is at the wrong place"
    except EntryError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    gone = [n for n, r in entry.files.items() if store.blobs.path(r) in lost or not store.blobs.has(r)]
    return f"lacks the blob of {', '.join(gone[:3])}" if gone else None
