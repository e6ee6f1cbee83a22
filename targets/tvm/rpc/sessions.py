"""The sessions of a device: each has a process and a folder of its own, which go when it ends, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tamis.targets.tvm.rpc import frames
from tamis.targets.tvm.rpc.registration import Tell

HANDSHAKE_SECONDS = 5.0
ENDED, FAILED, REFUSED, PINGED, LOST = 0, 1, 3, 4, 5
"""How the process of a session ends."""
PREFIX = "tamis-device-"
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, seconds, count: a client whose machine has vanished is noticed within a minute."""
PR_SET_PDEATHSIG = 1


@dataclass
class Session:
    """A session that goes on.

    Args:
        folder: Of its files.
        client: Address of the other side.
        connection: To the other side.
        accepted: Shared with the process of the session, which sets its only byte once the client has said what it must.
        left: Whether the other side has hung up.
    """

    folder: Path
    client: str
    connection: socket.socket
    accepted: mmap.mmap
    left: bool = False


class Sessions:
    """The processes of sessions.

    Args:
        runtime: The module ``tvm_ffi``, with TVM's runtime.
        key: Ours; empty without a tracker.
        tell: Gets when sessions begin and end.
    """

    def __init__(self, runtime: Any, key: str, tell: Tell) -> None:
        self._runtime, self._key, self._tell = runtime, key, tell
        self._running: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, listener: socket.socket, secret: str) -> None:
        """Accept a connection and serve it in a new process; ``secret`` is what the client must say."""
        try:
            connection, peer = listener.accept()
        except OSError:  # whoever called has gone already
            return
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        accepted = mmap.mmap(-1, 1)
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            for other in (listener, *(session.connection for session in self._running.values())):
                other.close()
            self._serve(connection, folder, secret, accepted, parent)
        self._running[pid] = Session(folder, f"{peer[0]}:{peer[1]}", connection, accepted)

    def connections(self) -> list[int]:
        """File descriptors of the connections, to be watched for clients that hang up."""
        return [session.connection.fileno() for session in self._running.values()]

    def hung_up(self, descriptors: Collection[int]) -> None:
        """End the sessions of clients that have hung up: what they still compute is for nobody.

        Who was not accepted hangs up, too; those sessions end by themselves, and say so by their status.
        """
        for pid, session in self._running.items():
            if session.accepted[0] and not session.left and session.connection.fileno() in descriptors:
                session.left = True
                os.kill(pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Clear up after sessions that have ended; whether one of them was a client's with the right key."""
        served = False
        for pid in list(self._running):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                self._forget(pid, code)
                served = served or code not in (REFUSED, PINGED)
        return served

    def close(self) -> None:
        """End all of them."""
        for pid in list(self._running):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._forget(pid, ENDED)

    def _forget(self, pid: int, code: int) -> None:
        session = self._running.pop(pid)
        session.connection.close()
        session.accepted.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # what the session has started
        shutil.rmtree(session.folder, ignore_errors=True)
        if code == PINGED:
            return
        event = {REFUSED: "refused", ENDED: "end", LOST: "lost"}.get(code, "end" if session.left else "crash")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._tell({"event": event, "client": session.client, "how": how})

    def _serve(
        self, connection: socket.socket, folder: Path, secret: str, accepted: mmap.mmap, parent: int
    ) -> NoReturn:
        """In the new process: a session from its first byte to its last."""
        status = FAILED
        try:
            _become_session(parent)
            status = self._session(connection, folder, secret, accepted)
        except (OSError, EOFError, ValueError):  # the client has gone, or is none
            status = REFUSED
        except BaseException as error:  # noqa: BLE001  (nothing may get out of this process)
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _session(self, connection: socket.socket, folder: Path, secret: str, accepted: mmap.mmap) -> int:
        connection.settimeout(HANDSHAKE_SECONDS)
        if frames.receive_number(connection) != frames.SESSION_MAGIC:
            return REFUSED
        words = frames.receive_text(connection).split()
        if (words or [""])[0] != f"client:{secret}":
            frames.send_number(connection, frames.REFUSED)
            return PINGED if words == [frames.PING] else REFUSED
        accepted[0] = 1
        frames.send_number(connection, frames.SESSION_MAGIC)
        frames.send_text(connection, f"server:{self._key}")
        connection.settimeout(None)
        _keep_alive(connection)
        for word in words[1:]:
            if word.startswith("-timeout="):
                signal.alarm(max(1, round(float(word.removeprefix("-timeout=")))))
        os.chdir(folder)
        self._functions(folder)
        try:
            self._runtime.get_global_func("rpc.ServerLoop")(connection.fileno())
        except RuntimeError as error:  # it raises in no other case
            sys.stderr.write(f"{error}\n")
            return LOST
        return ENDED

    def _functions(self, folder: Path) -> None:
        """What TVM's RPC asks of the program around it."""

        def place(path: str) -> str:
            return str(folder / path)

        def load(path: str) -> Any:
            return self._runtime.load_module(place(path))

        register: Callable[..., Any] = self._runtime.register_global_func
        register("tvm.rpc.server.workpath", place, override=True)
        register("tvm.rpc.server.load_module", load, override=True)


def _become_session(parent: int) -> None:
    """Lead a process group, die with the server, leave no core file, and treat signals as any program does."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(FAILED)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def remove_left_folders() -> None:
    """Remove the folders of servers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        if number.isdigit() and folder.stat().st_uid == os.getuid() and not _lives(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
