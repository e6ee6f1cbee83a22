"""What a server tells the program that has started it, or a person who has."""

from __future__ import annotations

import contextlib
import json
import sys
from multiprocessing.connection import Connection
from typing import Any


class Events:
    """Call it with an event: a dict with ``event`` and what belongs to it.

    Args:
        descriptor: Of the socket to the program that has started this one; None: write lines of text.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._connection = Connection(descriptor) if descriptor is not None else None

    def __call__(self, event: dict[str, Any]) -> None:
        if self._connection is None:
            sys.stdout.write(describe(event) + "\n")
            sys.stdout.flush()
            return
        with contextlib.suppress(OSError):  # nobody is left to be told; ``gone`` will say so
            self._connection.send_bytes(json.dumps(event).encode())

    @property
    def source(self) -> int | None:
        """File descriptor that can be read when the program that has started this one has ended; it sends nothing."""
        return None if self._connection is None else self._connection.fileno()


def describe(event: dict[str, Any]) -> str:
    """An event as a line for people."""
    match event["event"]:
        case "ready":
            return f"serving at {event['host']}:{event['port']}"
        case "failed":
            return f"cannot serve: {event['error']}"
        case "tracker lost":
            return f"the tracker does not answer ({event['error']}); trying again"
        case "refused":
            return f"refused {event['client']}: no client, or not the right key"
        case "lost":
            return f"the session of {event['client']} ended: the connection broke"
        case "crash":
            return f"the session of {event['client']} crashed: {event['how']}"
        case _:
            return f"the session of {event['client']} ended"
