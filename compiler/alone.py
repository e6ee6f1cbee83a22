"""The machine for oneself while something is timed: one measurement at a time, whoever makes it.

An advisory lock on one file of the machine keeps measurements of different processes apart; the kernel drops it with its
holder. Under ``tamis build`` the process also asks the build to stop its other compiles meanwhile: it connects to the
socket that ``TAMIS_BUILD_SOCKET`` names, sends its job, waits for ``go``, and closes when it is done. A process that dies
closes, too.

The lock comes first and is released last, so that no two measurements ask for the machine at once.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tamis.compiler.advisory_lock import lock

LOCK_VARIABLE = "TAMIS_MEASURE_LOCK"
"""Path of the lock file, or ``off``."""
SOCKET_VARIABLE = "TAMIS_BUILD_SOCKET"
JOB_VARIABLE = "TAMIS_BUILD_JOB"
WAITING = "waits for another measurement"
ANSWER_SECONDS = 60.0
"""A build that does not answer for so long is not waited for."""

Report = Callable[[float, str], None]

_gate = threading.Lock()
_depth = 0
_held: tuple[int | None, socket.socket | None] = (None, None)


@contextmanager
def alone(progress: Report | None = None) -> Iterator[None]:
    """Wait until nobody else measures, and keep others from it. A process that is alone already goes on at once.

    Without a lock file (no permission, no locks on this system) nothing is waited for.

    Args:
        progress: Gets (0, a note) if there is something to wait for.
    """
    global _depth, _held
    with _gate:
        if _depth == 0:
            _held = _acquire(progress)
        _depth += 1
    try:
        yield
    finally:
        with _gate:
            _depth -= 1
            if _depth == 0:
                held, _held = _held, (None, None)
                _release(*held)


def _acquire(progress: Report | None) -> tuple[int | None, socket.socket | None]:
    handle = _open()
    try:
        if handle is not None and lock(handle, wait=False) is False:
            if progress is not None:
                progress(0.0, WAITING)
            lock(handle, wait=True)
        return handle, _ask()
    except BaseException:
        if handle is not None:
            os.close(handle)
        raise


def _release(handle: int | None, asked: socket.socket | None) -> None:
    try:
        if asked is not None:
            with asked, suppress(OSError):
                asked.shutdown(socket.SHUT_WR)
                while asked.recv(64):
                    pass
    finally:
        if handle is not None:
            os.close(handle)


def _open() -> int | None:
    """The lock file; reading is all that a lock needs, so every user of the machine shares the file of the first."""
    named = os.environ.get(LOCK_VARIABLE)
    if named == "off":
        return None
    path = Path(named) if named else _default()
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    for attempt in (flags, flags | os.O_CREAT | os.O_EXCL, flags):
        with suppress(OSError):
            handle = os.open(path, attempt, 0o644)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return handle
            os.close(handle)
    return None


def _default() -> Path:
    """The same for every user and every ``TMPDIR``, where there is such a folder."""
    shared = Path("/tmp")
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "tamis-measure.lock"


def _ask() -> socket.socket | None:
    """A connection to the build that lasts as long as its other compiles are to stand still; None without a build."""
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        return None
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.settimeout(ANSWER_SECONDS)
        asked.connect(path)
        asked.sendall(f"measure {os.environ.get(JOB_VARIABLE, '')}\n".encode())
        if asked.recv(64):
            return asked
    except OSError:  # the build is gone, or does not answer
        pass
    except BaseException:
        asked.close()
        raise
    asked.close()
    return None
