"""Devices behind a tracker: found by key, for one client at a time."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from typing import Any

import numpy as np
import pytest

from tamis.compiler.errors import LoweringError, TargetUnavailableError, UsageError
from tamis.compiler.link import Link
from tamis.targets.tvm.rpc import frames
from tamis.targets.tvm.rpc.device_error import DeviceError
from tamis.targets.tvm.rpc.reach import unreachable
from tamis.targets.tvm.rpc.registration import Registration
from tamis.targets.tvm.rpc.server import devices, serve
from tamis.targets.tvm.rpc.tracker import parse_address, request, silent, tracked
from tests.targets.tvm.rpc.served import Library, Served


def registered(tracker: Served, key: str) -> Served:
    served = Served("serve_device", "--tracker", tracker.address, "--key", key)
    end = time.monotonic() + 5
    while key not in {entry.key for entry in tracked(tracker.address)}:
        assert time.monotonic() < end
        time.sleep(0.05)
    return served


def free(tracker: Served, key: str, wanted: int) -> bool:
    end = time.monotonic() + 5
    while {entry.key: entry for entry in tracked(tracker.address)}[key].free != wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_device_is_lent_to_one_client_and_given_back(two_outputs: Library, tracker: Served) -> None:
    feeds = two_outputs.feeds()
    expected = np.maximum(feeds["x"] @ feeds["y"], 0)
    with registered(tracker, "board") as board:
        (entry,) = (entry for entry in devices(tracker.address) if entry["key"] == "board")
        assert entry == {"key": "board", "addresses": [board.address], "free": 1, "waiting": 0}
        first, second = (two_outputs.on(tracker.address, "board") for _ in range(2))  # of one client
        for model in (first, second):
            np.testing.assert_allclose(model(feeds)["a"], expected, rtol=1e-5, atol=1e-6)
        assert free(tracker, "board", 0)
        with pytest.raises(DeviceError, match=r"phase connect: waited 0\.3 s for one of 1 'board' devices"):
            request(tracker.address, "board", 0.3)
        with pytest.raises(LoweringError, match=r"phase connect: it refused the session .*tracker"):
            two_outputs.on(board.address)
        first.close()
        second.close()
        assert free(tracker, "board", 1)
        two_outputs.on(tracker.address, "board").close()  # the lease of before is stale


def test_strangers_who_are_refused_do_not_take_the_device_from_its_client(tracker: Served) -> None:
    """Each hangs up as soon as it is refused, so that the server hears of that before the session's process has ended."""
    with registered(tracker, "lent"):
        host, port, secret = request(tracker.address, "lent")
        for said, answer in [("lent:wrong", frames.REFUSED)] * 30 + [(secret, frames.SESSION_MAGIC)]:
            with socket.create_connection((host, port)) as caller:
                frames.send_number(caller, frames.SESSION_MAGIC)
                frames.send_text(caller, f"client:{said}")
                assert frames.receive_number(caller) == answer


def test_a_key_that_nobody_has(two_outputs: Library, tracker: Served) -> None:
    with registered(tracker, "known"):
        with pytest.raises(LoweringError, match=r"phase connect: no device has that key; the tracker knows .*known"):
            two_outputs.on(tracker.address, "unknown")
        reason = unreachable(Link(kind="rpc", address=tracker.address, key="unknown"))
        assert reason is not None and f"tamis device serve --tracker {tracker.address} --key unknown" in reason
        assert unreachable(Link(kind="rpc", address=tracker.address, key="known")) is None


class OneTracker(threading.Thread):
    """A tracker for one connection; ``pending`` is what it says of offers.

    Args:
        port: Where it listens; 0: any.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.address = self.listener.getsockname()
        self.requests: list[Any] = []
        self.pending = True
        self.start()

    def run(self) -> None:
        connection, _ = self.listener.accept()
        self.listener.close()
        with connection, contextlib.suppress(EOFError):
            frames.send_number(connection, frames.receive_number(connection))
            while True:
                asked = json.loads(frames.receive_text(connection))
                self.requests.append(asked)
                if asked[0] == -1:
                    return
                secrets = [r[2][1] for r in self.requests if r[0] == frames.PUT] if self.pending else []
                frames.send_text(connection, json.dumps(secrets if asked[0] == frames.PENDING else frames.SUCCESS))


def test_a_device_finds_its_tracker_again() -> None:
    told: list[dict[str, Any]] = []
    first = OneTracker()
    registration = Registration(first.address, "loyal", None, 9, told.append)
    registration.offer()
    registration.tick()
    assert [r[0] for r in first.requests] == [frames.UPDATE_INFO, frames.PUT, frames.PENDING]
    assert registration._connection is not None
    frames.send_text(registration._connection, "[-1]")
    first.join()
    for _ in range(3):
        registration.tick()
    assert [event["event"] for event in told] == ["tracker lost"]
    second = OneTracker(first.address[1])
    registration.tick()
    assert second.requests[1][1:3] == ["loyal", [9, registration.secret]]
    registration._connection.close()


def test_a_client_that_does_not_come_loses_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.targets.tvm.rpc.registration.RENEW_SECONDS", 0.0)
    tracker = OneTracker()
    registration = Registration(tracker.address, "patient", None, 9, lambda event: None)
    registration.offer()
    secret, tracker.pending = registration.secret, False
    registration.tick()
    assert registration.secret == secret
    registration.tick()
    assert registration.secret != secret and tracker.requests[-1][2] == [9, registration.secret]
    assert registration._connection is not None
    registration._connection.close()


def test_something_else_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        reason = silent(f"127.0.0.1:{other.getsockname()[1]}")
        assert reason is not None and "is not TVM's RPC" in reason
        reason = silent(f"127.0.0.1:{other.getsockname()[1]}", 0.2)
        assert reason is not None and "does not answer within 0.2 s" in reason


def test_a_link_without_a_key(device: Served, tracker: Served) -> None:
    assert unreachable(Link(kind="rpc", address=device.address)) is None
    reason = unreachable(Link(kind="rpc", address=tracker.address))
    assert reason is not None and "is not TVM's RPC" in reason


def test_no_tracker(device: Served) -> None:
    with pytest.raises(TargetUnavailableError, match=r"it is no tracker|does not answer"):
        devices(device.address)
    with pytest.raises(TargetUnavailableError, match="tamis device track"):
        devices("127.0.0.1:1")
    reason = silent("127.0.0.1:1")
    assert reason is not None and re.search("refused.*tamis device serve", reason)


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:http"])
def test_an_address_is_host_and_port(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_address(text)
    with pytest.raises(UsageError, match="host:port"):
        devices(text)


def test_tracker_and_key_go_together() -> None:
    with pytest.raises(UsageError, match="go together"):
        serve("127.0.0.1", 0, "127.0.0.1:1", None, print)
