"""Room in memory: what does not fit beside the others waits, and what fits nowhere runs alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """A number of bytes that several threads share.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: list[int] = []
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Wait until ``size`` bytes are left, or nobody else has any."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or sum(self._taken) + size <= self._size)
            self._taken.append(size)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(size)
                self._changed.notify_all()
