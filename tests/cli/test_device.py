"""``tamis device``: servers that end with Ctrl-C, and what is said when they cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from tamis.compiler.cli.app import run
from tamis.targets.tvm.rpc.tracker import silent


def test_serve_ends_with_ctrl_c() -> None:
    command = [sys.executable, "-m", "tamis", "device", "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
    tamis = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        assert tamis.stdout is not None
        address = tamis.stdout.readline().removeprefix("serving at ").strip()
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        assert silent(address) is None
        tamis.send_signal(signal.SIGINT)
        output, _ = tamis.communicate(timeout=20)
    finally:
        tamis.kill()
        tamis.wait()
    assert (tamis.returncode, output) == (0, "stopped\n")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert run(["device", "serve", "--port", str(other.getsockname()[1])]) == 5
    assert "T500: cannot listen there; found" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["serve", "--key", "board"], ["serve", "--tracker", "x:1"]])
def test_a_tracker_needs_a_key(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["device", *arguments]) == 2
    assert "--tracker and --key go together" in capsys.readouterr().err


def test_list_without_a_tracker(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["device", "list", "--tracker", "127.0.0.1:1", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["where"] == "tracker 127.0.0.1:1"


def test_help_says_that_there_is_no_authentication(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["device", "--help"], ["device", "serve", "--help"]):
        assert run(command) == 0
        assert "authentication" in capsys.readouterr().out
