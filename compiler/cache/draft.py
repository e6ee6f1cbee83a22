"""Files that appear whole or not at all, whoever is killed: written in a folder of drafts, then renamed.

A draft is locked (``flock``) while its writer lives. The kernel drops the lock with the process, so a draft without a
lock was left behind and can go; nothing else has to be cleaned up.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tamis.compiler.advisory_lock import lock

FOLDER = "drafts"
ABANDONED_SECONDS = 24 * 3600.0
"""After so long an untouched draft is taken for left behind where files cannot be locked."""


@dataclass(frozen=True)
class Draft:
    """A file that nobody else sees yet.

    Args:
        stream: To write to.
        path: Where it is until it is published.
    """

    stream: BinaryIO
    path: Path

    def publish(self, to: Path) -> None:
        """Put it at ``to``, read-only, in place of what is there."""
        self.stream.flush()
        os.fchmod(self.stream.fileno(), 0o444)
        os.fsync(self.stream.fileno())
        to.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(to)


@contextmanager
def draft(folder: Path) -> Iterator[Draft]:
    """A draft below ``folder``; what was not published by the end vanishes.

    Raises:
        OSError: The disk is full, the folder cannot be written ...
    """
    drafts = folder / FOLDER
    drafts.mkdir(parents=True, exist_ok=True)
    made = _locked(drafts)
    try:
        with made.stream:
            yield made
    finally:
        made.path.unlink(missing_ok=True)


def _locked(drafts: Path) -> Draft:
    while True:
        handle, name = tempfile.mkstemp(dir=drafts)
        lock(handle, wait=True)
        if os.fstat(handle).st_nlink:
            return Draft(os.fdopen(handle, "wb"), Path(name))
        os.close(handle)  # swept in the moment before it was locked


def sweep(folder: Path) -> int:
    """Remove drafts whose writers were killed; returns how many."""
    try:
        paths = list((folder / FOLDER).iterdir())
    except OSError:
        return 0
    return sum(map(_sweep, paths))


def _sweep(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        locked = lock(handle, wait=False)
        age = time.time() - os.fstat(handle).st_mtime
        if locked or (locked is None and age > ABANDONED_SECONDS):
            path.unlink()
            return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
