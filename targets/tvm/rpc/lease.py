"""What a tracker lent us, shared by the processes of one compile: two models that are compared run on one device."""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from tamis.targets.tvm.rpc.tracker import request

T = TypeVar("T")

OFFERS = 3
"""How many devices, or offers of one, are tried."""


def use_lease(path: Path, address: str, key: str, connect: Callable[[str, int, str], T]) -> T:
    """Connect to the device that the tracker lent us, or to another one if it has been given back.

    Args:
        path: Of the lease; processes that name the same one share the device.
        address: Of the tracker.
        key: What it calls the device.
        connect: Gets host, port and what to say; raises ``RuntimeError`` if the device refuses.

    Raises:
        DeviceError: See ``request``.
    """
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or "null")
        if known is not None and known[:2] == [address, key]:
            try:
                return connect(*known[2:])
            except RuntimeError:  # it was given back meanwhile
                pass
        connection, lent = _borrow(address, key, connect)
        file.truncate(0)
        file.write(json.dumps([address, key, *lent]))
        file.flush()
        return connection


def _borrow(address: str, key: str, connect: Callable[[str, int, str], T]) -> tuple[T, tuple[str, int, str]]:
    """A connection to a device that the tracker lends, and what was lent.

    A tracker may hand out an offer that its device has replaced meanwhile; the device refuses that, and the next one is
    asked for.
    """
    for _ in range(OFFERS):
        lent = request(address, key)
        try:
            return connect(*lent), lent
        except RuntimeError as error:
            refused = error
    raise refused


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tamis-lease-", ignore_cleanup_errors=True)


def lease_path() -> Path:
    """The lease of this process and those that it starts; it vanishes with this process."""
    return Path(_folder().name) / "lease"
