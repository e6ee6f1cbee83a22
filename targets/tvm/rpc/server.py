"""Servers of devices and of trackers, run in processes of their own until they are stopped; and what trackers know."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tamis.compiler.errors import RuntimeFailureError, TargetUnavailableError, UsageError
from tamis.targets.links.attached_process import DESCRIPTOR, AttachedProcess
from tamis.targets.tvm.rpc.device_error import DeviceError
from tamis.targets.tvm.rpc.events import describe
from tamis.targets.tvm.rpc.tracker import parse_address, tracked

HINT = "pip install 'tamis[tvm]'"
STOP_SECONDS = 5.0

Say = Callable[[str], None]


def serve(host: str, port: int, tracker: str | None, key: str | None, say: Say) -> None:
    """Let TVM's RPC use this machine, until Ctrl-C.

    Args:
        host: Address to listen at.
        port: Port to listen at; 0: any that is free.
        tracker: ``host:port`` of the tracker that hands this device out; with ``key``.
        key: What it calls this device.
        say: Gets a line for whatever happens.

    Raises:
        UsageError: Of ``tracker`` and ``key`` one is missing, or an address is none.
        TargetUnavailableError: TVM's runtime is not installed.
        RuntimeFailureError: The port is taken, or the server died.
    """
    if (tracker is None) != (key is None):
        raise UsageError("--tracker and --key go together", fix="give both, or none to serve without a tracker")
    arguments = ["--host", host, "--port", str(port)]
    if tracker is not None and key is not None:
        _check(tracker)
        arguments += ["--tracker", tracker, "--key", key]
    _run("serve_device", arguments, say)


def track(host: str, port: int, say: Say) -> None:
    """Hand out the devices that register here, until Ctrl-C.

    Args:
        host: Address to listen at.
        port: Port to listen at; 0: any that is free.
        say: Gets a line for whatever happens.

    Raises:
        TargetUnavailableError: TVM or ``tornado`` is not installed.
        RuntimeFailureError: The port is taken, or the tracker died.
    """
    _run("serve_tracker", ["--host", host, "--port", str(port)], say)


def devices(tracker: str) -> list[dict[str, Any]]:
    """The devices that a tracker knows: key, addresses, how many are free, how many clients wait.

    Raises:
        UsageError: ``tracker`` is no address.
        TargetUnavailableError: It does not answer.
    """
    _check(tracker)
    try:
        found = tracked(tracker)
    except DeviceError as error:
        raise TargetUnavailableError(error.reason, where=error.device, fix=error.fix) from error
    return [
        {"key": entry.key, "addresses": list(entry.addresses), "free": entry.free, "waiting": entry.waiting}
        for entry in found
    ]


def _check(address: str) -> None:
    try:
        parse_address(address)
    except ValueError as error:
        raise UsageError("not an address", where=address, expected="host:port") from error


def _run(program: str, arguments: Sequence[str], say: Say) -> None:
    command = [sys.executable, "-m", f"tamis.targets.tvm.rpc.{program}", "--report", DESCRIPTOR, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = AttachedProcess(command, environment)
    try:
        while True:
            event = json.loads(process.connection.recv_bytes())
            if event["event"] == "failed":
                raise _failure(event)
            say(describe(event))
    except KeyboardInterrupt:
        say("stopped")
    except (EOFError, OSError) as error:
        raise RuntimeFailureError("the server died", found=process.epitaph()) from error
    finally:
        _stop(process)


def _failure(event: dict[str, Any]) -> RuntimeFailureError | TargetUnavailableError:
    if event["bind"]:
        return RuntimeFailureError("cannot listen there", found=event["error"], fix="choose another --port or --host")
    return TargetUnavailableError("what it needs is not installed", found=event["error"], fix=HINT)


def _stop(process: AttachedProcess) -> None:
    """Let the server clear up after its sessions; kill it if it does not."""
    try:
        os.kill(process.pid, signal.SIGTERM)
        while process.connection.poll(STOP_SECONDS):
            process.connection.recv_bytes()
    except (EOFError, OSError):
        pass  # it has ended
    finally:
        process.close()
