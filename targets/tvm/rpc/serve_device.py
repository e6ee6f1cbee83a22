"""The program of a device: a server of TVM's RPC.

Needs the packages ``apache-tvm`` and ``apache-tvm-ffi``, of which it loads the small runtime only, and nothing that tamis
depends on. Run as::

    python -m tamis.targets.tvm.rpc.serve_device [--host 127.0.0.1] [--port 9090] [--tracker HOST:PORT --key NAME]

TVM's RPC has no authentication and executes what it is sent: use it in a trusted network only. Without a tracker any
number of sessions goes on at once; a tracker hands the device to one client at a time, which may open several. A session that crashes ends alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from tamis.targets.links.serve_model import leave_out_torch
from tamis.targets.tvm.rpc.events import Events
from tamis.targets.tvm.rpc.registration import Registration
from tamis.targets.tvm.rpc.runtime_library import load_runtime
from tamis.targets.tvm.rpc.sessions import Sessions, remove_left_folders

TICK_SECONDS = 2.0
"""How often the tracker is asked whether it still knows us."""
ANY_HOST = ("", "0.0.0.0", "::")


def serve(listener: socket.socket, sessions: Sessions, registration: Registration | None, events: Events) -> None:
    """Serve until a signal comes, or the program that started this one is gone."""
    if registration is not None:
        registration.offer()
    used = False
    with _woken_by_children() as wakes:
        while True:
            ready = _wait(listener, wakes, sessions, registration, events)
            if events.source in ready:
                return
            if wakes in ready:
                os.read(wakes, 4096)
            sessions.hung_up(ready)
            used = sessions.reap() or used
            if used and registration is not None and not len(sessions):
                registration.offer()
                used = False
            if listener.fileno() in ready:
                sessions.start(listener, registration.secret if registration else "")
            elif registration is not None and not len(sessions):
                registration.tick()


def _wait(
    listener: socket.socket, wakes: int, sessions: Sessions, registration: Registration | None, events: Events
) -> set[int]:
    """Wait for something to do; the file descriptors that something happened to."""
    poll = select.poll()
    poll.register(wakes, select.POLLIN)
    poll.register(listener, select.POLLIN)
    if events.source is not None:
        poll.register(events.source, select.POLLIN)
    for descriptor in sessions.connections():
        poll.register(descriptor, select.POLLRDHUP)
    return {descriptor for descriptor, _ in poll.poll(None if registration is None else TICK_SECONDS * 1000)}


@contextlib.contextmanager
def _woken_by_children() -> Iterator[int]:
    """A file descriptor that can be read when a child has ended."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description="Serve TVM's RPC, without authentication: trusted networks only.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=9090, help="0: any that is free")
    parser.add_argument("--tracker", type=_address, help="host:port")
    parser.add_argument("--key", default="", help="what the tracker calls this device")
    parser.add_argument("--report", type=int, help="file descriptor that gets events, instead of lines of text")
    chosen = parser.parse_args()
    leave_out_torch()
    if bool(chosen.tracker) != bool(chosen.key):
        parser.error("--tracker and --key go together")
    run(chosen, Events(chosen.report))


def run(chosen: argparse.Namespace, events: Events) -> None:
    """Bind, load TVM's runtime, and serve."""
    os.environ.setdefault("TVM_NUM_THREADS", str(len(os.sched_getaffinity(0))))  # TVM's own default is half of that
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        runtime: Any = load_runtime()
        listener = socket.create_server((chosen.host, chosen.port))
    except (ImportError, OSError) as error:
        events({"event": "failed", "error": str(error), "bind": not isinstance(error, ImportError)})
        sys.exit(1)
    remove_left_folders()
    port = listener.getsockname()[1]
    events({"event": "ready", "host": chosen.host, "port": port})
    sessions = Sessions(runtime, chosen.key, events)
    with listener, contextlib.closing(sessions):
        registration = None
        if chosen.tracker:
            host = None if chosen.host in ANY_HOST else chosen.host
            registration = Registration(chosen.tracker, chosen.key, host, port, events)
        serve(listener, sessions, registration, events)


if __name__ == "__main__":
    main()
