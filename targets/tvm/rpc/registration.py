"""What a tracker is told of a device, by the device's server."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tamis.targets.tvm.rpc import frames

SECONDS = 5.0
"""Time limit of an answer of the tracker."""
RENEW_SECONDS = 8.0
"""A client that got our secret from the tracker and does not come for so long has given up."""

Tell = Callable[[dict[str, Any]], None]


class Registration:
    """Our entry in a tracker. A tracker that cannot be reached is tried again at each tick.

    Args:
        tracker: Its host and port.
        key: What it calls devices like this one.
        host: Where clients reach us; None: where the tracker sees us.
        port: Ours.
        tell: Gets what changes.

    Attributes:
        secret: What the client says that the tracker has sent.
    """

    def __init__(self, tracker: tuple[str, int], key: str, host: str | None, port: int, tell: Tell) -> None:
        self._tracker, self._key, self._host, self._port, self._tell = tracker, key, host, port, tell
        self._connection: socket.socket | None = None
        self._taken_since: float | None = None
        self._lost = False
        self.secret = ""

    @property
    def connection(self) -> socket.socket | None:
        """To the tracker; None while it is lost."""
        return self._connection

    def offer(self) -> None:
        """Tell the tracker that we are free, under a new secret."""
        self.secret = f"{self._key}:{os.urandom(12).hex()}"
        self._taken_since = None
        with self._losses():
            if self._connection is None:
                self._connection = frames.open_tracker(self._tracker, SECONDS)
                place = [self._host, self._port]
                self._ask(frames.UPDATE_INFO, {"key": f"server:{self._key}", "addr": place})
            self._ask(frames.PUT, self._key, [self._port, self.secret], self._host)
            self._lost = False

    def tick(self) -> None:
        """Offer again if the tracker was away, or gave our secret to somebody who does not come."""
        if self._connection is None:
            self.offer()
            return
        with self._losses():
            pending = self._ask(frames.PENDING)
            if self.secret in pending:
                self._taken_since = None
            elif self._taken_since is None:
                self._taken_since = time.monotonic()
            elif time.monotonic() - self._taken_since > RENEW_SECONDS:
                self.offer()

    def _ask(self, *request: Any) -> Any:
        assert self._connection is not None
        return frames.ask_tracker(self._connection, *request)

    @contextmanager
    def _losses(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, ValueError) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if not self._lost:
                self._tell({"event": "tracker lost", "error": str(error)})
            self._lost = True
