"""Outputs that appear whole or not at all: write beside, fsync, change places.

Whatever ends the work in between (an error, Ctrl-C, a full disk, ``kill -9``), the output path is as it was before, and
never missing. The staging folder is removed; if its process was killed, the next one for the same path does it: the
folder is locked while its process lives.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tamis.compiler.advisory_lock import lock
from tamis.compiler.errors import OutputError, TamisError, WriteError
from tamis.compiler.exchange import exchange

MARK = ".tamis-"
ASIDE = "old-"
"""Folders beside the output ``out`` are called ``.out.tamis-*``; those with an earlier output ``.out.tamis-old-*``."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def write_error(error: OSError, path: Path) -> TamisError:
    """The error of ours for an ``OSError`` while writing to ``path``."""
    text = error.strerror or str(error)
    if error.errno in FULL:
        return WriteError(f"writing failed: {text}", where=str(path), fix="free some space; nothing was left behind")
    return OutputError(f"cannot be written: {text}", where=str(path), fix="choose another output path")


@dataclass
class Staging:
    """A folder to write into, and the path that it will be published at.

    ``out`` may be changed to a sibling path until the end.

    Args:
        single: Publish only the file called ``out.name`` in the folder, instead of the folder.
    """

    folder: Path
    out: Path
    single: bool = False


@contextmanager
def staged(out: Path, *, replaceable: Callable[[Path], bool]) -> Iterator[Staging]:
    """A staging folder beside ``out``; on a clean exit it is published, otherwise it vanishes.

    Args:
        out: The path to publish at. Its parent is created.
        replaceable: Whether something that stands at ``out`` already may be replaced.

    Raises:
        OutputError: ``out`` cannot be written, or holds something that is not replaceable.
        WriteError: The disk is full or broken.
    """
    check_output(out, replaceable)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sweep(out)
        folder, owned = _locked_folder(out, "")
    except OSError as error:
        raise write_error(error, out) from error
    try:
        staging = Staging(folder, out)
        yield staging
        folder.chmod(0o755)
        _publish(folder / staging.out.name if staging.single else folder, staging.out)
    except OSError as error:
        raise write_error(error, out) from error
    finally:
        _remove(folder)
        os.close(owned)


def _remove(folder: Path) -> None:
    """A folder with all that is in it; of a link that was the output before, only the link."""
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(out: Path, kind: str) -> tuple[Path, int]:
    """A new folder beside ``out``, and the descriptor that locks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}{MARK}{kind}", dir=out.parent))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # swept in the moment before it was locked, as below
        lock(handle, wait=True)
        if folder.exists():
            return folder, handle
        os.close(handle)


def sweep(out: Path) -> None:
    """Remove what killed processes have left beside ``out``, and put an output back that one of them had moved aside."""
    for folder in out.parent.glob(f"{glob.escape(f'.{out.name}{MARK}')}*"):
        if folder.is_symlink():
            _remove(folder)
            continue
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            if lock(handle, wait=False):
                aside = folder / out.name
                if folder.name.startswith(f".{out.name}{MARK}{ASIDE}") and aside.exists() and not out.exists():
                    aside.rename(out)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def check_output(out: Path, replaceable: Callable[[Path], bool]) -> None:
    """Refuse an output path early, before any work is spent.

    Raises:
        OutputError: As in ``staged``.
    """
    for parent in (out, *out.parents):
        if parent.exists():
            if parent != out and not parent.is_dir():
                raise OutputError("is not a folder", where=str(parent), fix="choose another output path")
            break
    writable = next(p for p in out.parents if p.exists())
    if not os.access(writable, os.W_OK):
        raise OutputError("cannot be written: permission denied", where=str(writable), fix="choose another output path")
    empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not empty and not replaceable(out):
        raise OutputError(
            "already exists and was not made by tamis", where=str(out), fix="remove it or choose another output path"
        )


def _publish(source: Path, out: Path) -> None:
    for path in (*source.rglob("*"), source) if source.is_dir() else (source,):
        _fsync(path)
    if not source.is_dir():
        source.replace(out)
    elif not _moved(source, out) and not exchange(source, out):
        _replace(source, out)
    _fsync(out.parent)


def _moved(source: Path, out: Path) -> bool:
    """Move a folder to ``out``; False if a folder with something in it, or a link to a folder, is there by now."""
    try:
        source.rename(out)
    except OSError:
        if out.is_dir():
            return False
        raise
    return True


def _replace(source: Path, out: Path) -> None:
    """Where paths cannot change places: ``out`` is missing for a moment, and comes back if the process is killed in it."""
    aside, owned = _locked_folder(out, ASIDE)
    try:
        out.rename(aside / out.name)
        try:
            source.rename(out)
        except BaseException:
            (aside / out.name).rename(out)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(owned)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def staged_file(out: Path) -> Iterator[Path]:
    """A path beside ``out`` to write a single file to; on a clean exit it replaces the file ``out``.

    Raises:
        OutputError: ``out`` is a folder or cannot be written.
        WriteError: The disk is full or broken.
    """
    if not out.suffix:
        raise OutputError("has no file extension", where=str(out), fix="give the output file a suffix")
    with staged(out.absolute(), replaceable=Path.is_file) as staging:
        staging.single = True
        yield staging.folder / out.name
