"""Devices behind a tracker: found by key, for one client at a time."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from tamis.compiler.errors import LoweringError, TargetUnavailableError, UsageError
from tamis.compiler.link import Link
from tamis.targets.tvm.rpc.device_error import DeviceError
from tamis.targets.tvm.rpc.reach import unreachable
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


def test_a_device_is_found_by_its_key_and_given_back(two_outputs: Library, tracker: Served) -> None:
    with registered(tracker, "board") as board:
        (entry,) = (entry for entry in devices(tracker.address) if entry["key"] == "board")
        assert entry == {"key": "board", "addresses": [board.address], "free": 1, "waiting": 0}
        for _ in range(2):
            feeds, model = two_outputs.feeds(), two_outputs.on(tracker.address, "board")
            np.testing.assert_allclose(model(feeds)["a"], np.maximum(feeds["x"] @ feeds["y"], 0), rtol=1e-5, atol=1e-6)
            assert free(tracker, "board", 0)
            model.close()
            assert free(tracker, "board", 1)


def test_a_device_in_use_is_waited_for(two_outputs: Library, tracker: Served) -> None:
    with registered(tracker, "busy"):
        model = two_outputs.on(tracker.address, "busy")
        with pytest.raises(DeviceError, match="phase connect: waited 0.3 s for one of 1 'busy' devices"):
            request(tracker.address, "busy", 0.3)
        model.close()


def test_a_key_that_nobody_has(two_outputs: Library, tracker: Served) -> None:
    with registered(tracker, "known"):
        with pytest.raises(LoweringError, match=r"phase connect: no device has that key; the tracker knows .*known"):
            two_outputs.on(tracker.address, "unknown")
        reason = unreachable(Link(kind="rpc", address=tracker.address, key="unknown"))
        assert reason is not None and f"tamis device serve --tracker {tracker.address} --key unknown" in reason
        assert unreachable(Link(kind="rpc", address=tracker.address, key="known")) is None


def test_a_registered_device_refuses_clients_of_its_own_address(two_outputs: Library, tracker: Served) -> None:
    with (
        registered(tracker, "closed") as served,
        pytest.raises(LoweringError, match=r"phase connect: it refused the session .*tracker"),
    ):
        two_outputs.on(served.address)


def test_a_device_finds_its_tracker_again(two_outputs: Library) -> None:
    with Served("serve_tracker") as first:
        served = registered(first, "loyal")
        port = first.port
    with served:
        served.event("tracker lost")
        with Served("serve_tracker", "--port", str(port)) as second:
            end = time.monotonic() + 10
            while not tracked(second.address):
                assert time.monotonic() < end
                time.sleep(0.1)
            two_outputs.on(second.address, "loyal").close()


def test_a_link_without_a_key(device: Served, tracker: Served) -> None:
    assert unreachable(Link(kind="rpc", address=device.address)) is None
    reason = unreachable(Link(kind="rpc", address=tracker.address))
    assert reason is not None and "is not TVM's RPC" in reason


def test_no_tracker(device: Served) -> None:
    with pytest.raises(TargetUnavailableError, match="it is no tracker|does not answer"):
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
