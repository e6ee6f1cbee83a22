"""Models on devices: results, times, and what is said when the device, the way there, or the library is at fault."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.compiler.errors import LoweringError, RuntimeFailureError
from tamis.compiler.link import Link
from tamis.compiler.machine import find_machine
from tamis.compiler.target import Artifact
from tamis.targets.links import qemu
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.tvm.runtime import Tvm
from tests.targets.tvm.rpc.served import Cut, Library, Served, gone, kill_soon

IMPATIENT = Path(__file__).with_name("planted_impatient.py")


def process_of(model: RemoteModel) -> int:
    return model._process.pid


def test_a_device_computes_what_is_expected(two_outputs: Library, device: Served) -> None:
    feeds = two_outputs.feeds()
    model = two_outputs.on(device.address)
    product = feeds["x"] @ feeds["y"]
    for _ in range(2):
        found = model(feeds)
        np.testing.assert_allclose(found["a"], np.maximum(product, 0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["b"], 1 / (1 + np.exp(-product)), rtol=1e-5, atol=1e-6)
    assert (model.input_names, model.output_names) == (("x", "y"), ("a", "b"))
    model.close()


def test_the_runtime_reaches_the_device(two_outputs: Library, device: Served) -> None:
    runtime = Tvm(None, Link(kind="rpc", address=device.address))
    assert runtime.unavailable(find_machine("cortex-a72")) is None
    folder, name = two_outputs.path.parent, two_outputs.path.name
    model = runtime.load(folder, Artifact("tvm", (name,), two_outputs.settings))
    assert set(model(two_outputs.feeds())) == {"a", "b"}


def test_calls_are_timed_by_the_clock_of_the_device(two_outputs: Library, slow: Library, device: Served) -> None:
    quick, long = two_outputs.on(device.address), slow.on(device.address)
    wall, cpu = quick.timed(two_outputs.feeds(), 100)
    assert 0 < wall == cpu < 100_000  # the way there and back takes longer
    started = time.perf_counter()
    measured, _ = long.timed(slow.feeds(), 30)
    passed = (time.perf_counter() - started) * 1e9
    assert passed / 300 < measured < passed / 30
    quick.close()
    long.close()


def test_a_session_ends_with_its_client_and_with_its_server(slow: Library, mortal: Served) -> None:
    feeds, model = slow.feeds(), slow.on(mortal.address)
    (session,), (folder,) = mortal.sessions(), mortal.folders()
    assert [file.name for file in folder.iterdir()] == ["model.so"]
    model.close()
    mortal.event("end")
    assert gone(session) and not folder.exists()

    model = slow.on(mortal.address)
    (session,) = mortal.sessions()
    kill_soon(process_of(model))
    with pytest.raises(RuntimeFailureError, match="SIGKILL"):
        model.timed(feeds, 1000)
    mortal.event("end")
    assert gone(session, 1) and mortal.folders() == []

    model = slow.on(mortal.address)
    (session,) = mortal.sessions()
    os.kill(mortal.pid, signal.SIGTERM)
    mortal.event("end")
    assert gone(session) and mortal.folders() == []
    model.close()


def test_nobody_there(two_outputs: Library) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LoweringError, match=r"phase connect: no device at .*refused.*tamis device serve"):
        two_outputs.on(f"127.0.0.1:{port}")


def test_the_library_is_for_another_machine(for_arm: Library, device: Served) -> None:
    with pytest.raises(LoweringError, match=r"phase load: .*check that the device is aarch64"):
        for_arm.on(device.address)


def test_an_upload_that_is_cut_off(slow: Library, mortal: Served) -> None:
    with (
        Cut(mortal.port, slow.path.stat().st_size // 2) as cut,
        pytest.raises(LoweringError, match="phase upload: the connection broke"),
    ):
        slow.on(cut.address)
    mortal.event("end")
    assert mortal.sessions() == [] and mortal.folders() == []
    slow.on(mortal.address).close()


def test_a_device_that_dies_in_a_measurement(slow: Library, mortal: Served) -> None:
    feeds = slow.feeds()
    for victim in ("session", "server"):
        model = slow.on(mortal.address)
        assert model(feeds)["a"].shape == (768, 768)
        model.timed(feeds, 1)  # what is timed the first time runs once before, which is another phase
        client, sessions = process_of(model), mortal.sessions()
        kill_soon(mortal.pid if victim == "server" else sessions[0])
        started = time.monotonic()
        with pytest.raises(RuntimeFailureError, match="phase measure: the connection broke"):
            model.timed(feeds, 1000)
        assert time.monotonic() - started < 5
        assert all(gone(pid) for pid in sessions)
        with pytest.raises(RuntimeFailureError, match="phase run: the connection broke"):
            model(feeds)
        model.close()
        assert gone(client)
        if victim == "session":
            assert mortal.event("crash")["how"] == "signal SIGKILL"


def test_a_device_that_stops_answering(slow: Library, mortal: Served) -> None:
    feeds, model = slow.feeds(), slow.on(mortal.address, program=IMPATIENT)
    for session in mortal.sessions():
        os.kill(session, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(RuntimeFailureError, match=r"phase run: no answer within 2 s"):
        model(feeds)
    assert time.monotonic() - started < 10
    model.close()
    assert gone(process_of(model))


def test_an_emulated_device_computes_the_same(for_arm: Library, two_outputs: Library, device: Served) -> None:
    """A server in the arm64 system."""
    if (reason := qemu.unavailable(find_machine("cortex-a72"))) is not None:
        pytest.fail(reason)
    environment = qemu.environment("cortex-a72")
    environment["PYTHONPATH"] += os.pathsep + str(Path(tamis.__file__).parents[1])
    with Served("serve_device", command=qemu.command(), environment=environment) as emulated:
        model, here = for_arm.on(emulated.address), two_outputs.on(device.address)
        expected, found = here(for_arm.feeds()), model(for_arm.feeds())
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
        with pytest.raises(LoweringError, match=r"phase load: .*check that the device is x86-64"):
            two_outputs.on(emulated.address)
        model.close()
        here.close()
