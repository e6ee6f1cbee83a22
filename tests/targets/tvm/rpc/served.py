"""Servers that tests start, and libraries that they send there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tamis.compiler.link import Link
from tamis.targets.links.attached_process import DESCRIPTOR, AttachedProcess
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.tvm.rpc.reach import DEVICE_MODEL, device_settings

Array = np.ndarray[Any, np.dtype[Any]]

START_SECONDS = 60.0


class Served:
    """A server in a process of its own; use it as a context manager.

    Args:
        program: ``serve_device`` or ``serve_tracker``.
        arguments: Of its command line.
        command: What runs Python programs.
        environment: All its environment variables.
    """

    def __init__(
        self,
        program: str,
        *arguments: str,
        command: Sequence[str] = (sys.executable,),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        ours = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        line = [*command, "-m", f"tamis.targets.tvm.rpc.{program}", "--port", "0", "--report", DESCRIPTOR, *arguments]
        self._process = AttachedProcess(line, ours if environment is None else environment)
        self.pid = self._process.pid
        self.port: int = self.event("ready", START_SECONDS)["port"]
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    def event(self, name: str, seconds: float = 10.0) -> dict[str, Any]:
        """The next event of that name; what comes before it is dropped."""
        end = time.monotonic() + seconds
        while self._process.connection.poll(max(0.0, end - time.monotonic())):
            found: dict[str, Any] = json.loads(self._process.connection.recv_bytes())
            assert found["event"] != "failed", found
            if found["event"] == name:
                return found
        raise AssertionError(f"no event {name!r}: {self._process.last_lines()}")

    def sessions(self) -> list[int]:
        """Process ids of the sessions."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def folders(self) -> list[Path]:
        """Folders of the sessions."""
        return list(Path("/tmp").glob(f"tamis-device-{self.pid}-*"))


class Library:
    """A compiled model.

    Args:
        path: The library.
        settings: See ``TvmLibrary``.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings

    def on(self, address: str, key: str | None = None, **options: Any) -> RemoteModel:
        """Loaded on a device."""
        settings = {**self.settings, "device": device_settings(Link(kind="rpc", address=address, key=key))}
        return RemoteModel("tvm", self.path, settings, **{"program": DEVICE_MODEL, **options})

    def feeds(self) -> dict[str, Array]:
        """Random numbers."""
        random = np.random.default_rng(0)
        return {i["name"]: random.random(i["shape"]).astype(np.float32) - 0.5 for i in self.settings["inputs"]}


class Cut(threading.Thread):
    """A way to ``port`` that breaks once so many bytes were sent by it; use it as a context manager.

    Args:
        port: Where it leads.
        limit: Bytes.
    """

    def __init__(self, port: int, limit: int) -> None:
        super().__init__(daemon=True)
        self._to, self._limit = port, limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.join(10)
        self._listener.close()

    def run(self) -> None:
        """Pass on what comes over one connection after the other, until one reaches the limit."""
        reached = False
        while not reached:
            near, _ = self._listener.accept()
            with near, socket.create_connection(("127.0.0.1", self._to)) as far:
                back = threading.Thread(target=_pass_on, args=(far, near, 1 << 30), daemon=True)
                back.start()
                reached = _pass_on(near, far, self._limit)
                back.join()


def _pass_on(source: socket.socket, sink: socket.socket, limit: int) -> bool:
    """Whether the limit was reached."""
    count = 0
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            count += len(data)
            if count > limit:
                break
            sink.sendall(data)
    for side in (source, sink):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
    return count > limit


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def kill_soon(pid: int, seconds: float = 0.5) -> None:
    """Kill a process, a little later."""
    threading.Timer(seconds, os.kill, (pid, signal.SIGKILL)).start()
