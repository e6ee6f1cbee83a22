"""What is said on the sockets of TVM's RPC before a session begins, and to a tracker. Needs the standard library only."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

SESSION_MAGIC = 0xFF271
"""Opens a session; as an answer: the key is right."""
REFUSED = SESSION_MAGIC + 2
"""The answer to a wrong key."""
PING = "client:is-anybody-there"
"""A key that nobody has."""
TRACKER_MAGIC = 0x2F271
PUT, REQUEST, UPDATE_INFO, SUMMARY, PENDING = 3, 4, 5, 6, 7
"""Requests to a tracker: offer a device, ask for one, say who we are, list all, list our offers that nobody took."""
SUCCESS = 0
LONGEST = 1 << 20
"""Of a key or a message, bytes."""


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes. Raises ``OSError``, ``EOFError`` if the other side closes before."""
    found = bytearray()
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise EOFError("the connection was closed")
        found += piece
    return bytes(found)


def send_text(connection: socket.socket, text: str) -> None:
    """A text with its length before it."""
    data = text.encode()
    connection.sendall(struct.pack("<i", len(data)) + data)


def receive_text(connection: socket.socket) -> str:
    """See ``send_text``. Raises ``ValueError`` if it is none."""
    size = receive_number(connection)
    if not 0 <= size <= LONGEST:
        raise ValueError(f"a text of {size} bytes")
    return receive_exactly(connection, size).decode()


def send_number(connection: socket.socket, number: int) -> None:
    """32 bits, little-endian."""
    connection.sendall(struct.pack("<i", number))


def receive_number(connection: socket.socket) -> int:
    """See ``send_number``."""
    number: int = struct.unpack("<i", receive_exactly(connection, 4))[0]
    return number


def open_tracker(address: tuple[str, int], seconds: float) -> socket.socket:
    """A connection to a tracker; ``seconds`` is the time limit of whatever is done with it.

    Raises:
        OSError: Nobody answers.
        ValueError, EOFError: It is no tracker.
    """
    connection = socket.create_connection(address, timeout=seconds)
    try:
        send_number(connection, TRACKER_MAGIC)
        if (found := receive_number(connection)) != TRACKER_MAGIC:
            raise ValueError(f"it answers with {found:#x}")
    except BaseException:
        connection.close()
        raise
    return connection


def ask_tracker(connection: socket.socket, *request: Any) -> Any:
    """Send a request to a tracker; its answer. Raises ``OSError``, ``EOFError`` or ``ValueError``."""
    send_text(connection, json.dumps(request))
    return json.loads(receive_text(connection))
