"""Asking trackers for devices, and devices whether they are there. Needs the standard library only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tamis.targets.tvm.rpc import frames
from tamis.targets.tvm.rpc.device_error import DeviceError

CONNECT_SECONDS = 4.0
WAIT_SECONDS = 60.0
"""How long to wait for a device that others use."""
START_SERVER = "start 'tamis device serve' there, with --host if it is another machine"
START_TRACKER = "start 'tamis device track' there, with --host if it is another machine"


@dataclass(frozen=True)
class Tracked:
    """Devices of one key, as a tracker knows them.

    Args:
        key: Their name.
        addresses: Where they are.
        free: How many nobody uses.
        waiting: How many clients wait for one.
    """

    key: str
    addresses: tuple[str, ...]
    free: int
    waiting: int


def parse_address(text: str) -> tuple[str, int]:
    """``host:port``. Raises ``ValueError``."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)


def tracked(address: str, seconds: float = CONNECT_SECONDS) -> list[Tracked]:
    """What a tracker knows, by key.

    Raises:
        DeviceError: It does not answer, or is none.
    """
    with _tracker(address, seconds) as connection:
        found = _answer(frames.ask_tracker(connection, frames.SUMMARY))
        places: dict[str, list[str]] = {}
        for entry in found["server_info"]:
            key = entry["key"].removeprefix("server:")
            places.setdefault(key, []).append(":".join(str(part) for part in entry["addr"]))
        queues = found["queue_info"]
    none = {"free": 0, "pending": 0}
    return [
        Tracked(key, tuple(sorted(places[key])), *(queues.get(key, none)[what] for what in none))
        for key in sorted(places)
    ]


def request(address: str, key: str, seconds: float = WAIT_SECONDS) -> tuple[str, int, str]:
    """A device of a tracker, for us alone.

    Returns:
        Its host and port, and what to say to it.

    Raises:
        DeviceError: There is none of that key, or none becomes free within ``seconds``.
    """
    devices = {entry.key: entry for entry in tracked(address)}
    if key not in devices:
        raise unknown_key(address, key, devices)
    with _tracker(address, seconds, waiting_for=f"one of {len(devices[key].addresses)} {key!r} devices") as connection:
        host, port, secret = _answer(frames.ask_tracker(connection, frames.REQUEST, key, "", 1))
    return str(host), int(port), str(secret)


def unknown_key(address: str, key: str, known: Any) -> DeviceError:
    """The error for a key that no device has."""
    has = ", ".join(sorted(known)) or "none"
    return DeviceError(
        f"{key!r} at tracker {address}",
        "connect",
        f"no device has that key; the tracker knows {has}",
        f"start 'tamis device serve --tracker {address} --key {key}' on the device",
    )


def silent(address: str, seconds: float = CONNECT_SECONDS) -> str | None:
    """Why there is no server of TVM's RPC at ``address``, with a hint; None if there is one. Opens no session."""
    try:
        connection = socket.create_connection(parse_address(address), timeout=seconds)
    except (OSError, ValueError) as error:
        return f"no device at {address} ({error}); {START_SERVER}"
    with connection:
        try:
            frames.send_number(connection, frames.SESSION_MAGIC)
            frames.send_text(connection, frames.PING)
            answer = frames.receive_number(connection)
        except TimeoutError:
            return f"what listens at {address} does not answer within {seconds:g} s; wait if others use it, or {START_SERVER}"
        except (OSError, EOFError):
            answer = 0
    if answer not in (frames.REFUSED, frames.SESSION_MAGIC):
        return f"what answers at {address} is not TVM's RPC; {START_SERVER}"
    return None


@contextmanager
def _tracker(address: str, seconds: float, waiting_for: str = "an answer") -> Iterator[socket.socket]:
    name = f"tracker {address}"
    try:
        with frames.open_tracker(parse_address(address), seconds) as connection:
            yield connection
    except TimeoutError as error:
        reason = f"waited {seconds:g} s for {waiting_for}"
        raise DeviceError(name, "connect", reason, f"try again when it is free, or {START_TRACKER}") from error
    except (OSError, EOFError) as error:
        raise DeviceError(name, "connect", f"it does not answer ({error})", START_TRACKER) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(name, "connect", f"it is no tracker ({error})", START_TRACKER) from error


def _answer(message: Any) -> Any:
    status, value = message
    if status != frames.SUCCESS:
        raise ValueError(f"status {status}")
    return value
