"""The compiles of one process, and how all but one of them stand still while that one measures.

Every compile is a process group of its own. One that is about to measure connects to a socket (see ``compiler/alone``);
the other groups are stopped, with all that they have started outside of them, and go on when the connection ends, however
it ends. New compiles wait meanwhile.

A group has its parent in the same session, so that the kernel ends groups that stand still if this process is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tamis.compiler.alone import JOB_VARIABLE, SOCKET_VARIABLE
from tamis.compiler.building.descendants import running_below

GO = b"go\n"
GRACE_SECONDS = 5.0
"""Between an interrupt and a kill."""
LONGEST = 60
"""Bytes of the path of the folder for temporary files; in a longer one, a socket may not find room for its own."""
HOLD = "hold"
"""What a compile says that only wants to know when this process has died."""


class Stopped(Exception):
    """The build ends: nothing more is started."""


class Quiet:
    """Starts and stops the compiles; use ``close`` at the end.

    Args:
        listen: Gets the name of the compile that measures, or None when none does any more.
    """

    def __init__(self, listen: Callable[[str | None], None] | None = None) -> None:
        self._listen = listen or (lambda name: None)
        self._changed = threading.Condition()
        self._groups: dict[str, int] = {}
        self._measuring: str | None = None
        self._outside: list[int] = []
        """Processes that stand still besides the groups."""
        self._stopped = False
        self._folder = _short_folder()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self._folder / "s"))
        self._server.listen(64)
        threading.Thread(target=self._accept, name="tamis-quiet", daemon=True).start()

    def start(
        self, name: str, command: Sequence[str], env: dict[str, str], cwd: Path, out: IO[bytes], err: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a compile in a group of its own, as soon as nobody measures. Raises ``Stopped`` after ``stop``."""
        own = {SOCKET_VARIABLE: str(self._folder / "s"), JOB_VARIABLE: name}
        with self._changed:
            self._changed.wait_for(lambda: self._measuring is None or self._stopped)
            if self._stopped:
                raise Stopped
            child = subprocess.Popen(
                command, env={**env, **own}, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, process_group=0
            )
            self._groups[name] = child.pid
        return child

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopped

    def ended(self, name: str) -> None:
        """The compile has ended, and has not been reaped yet: end what it has started, let the others go on."""
        with self._changed:
            group = self._groups.pop(name, None)
            if group is not None:
                _send(group, signal.SIGKILL)
        self._go_on(name)

    def stop(self) -> None:
        """Start nothing more, interrupt what runs, and kill what does not end soon. Returns at once."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._signal(signal.SIGINT)
        killer = threading.Timer(GRACE_SECONDS, self._signal, (signal.SIGKILL,))
        killer.daemon = True
        killer.start()

    def _signal(self, kind: signal.Signals) -> None:
        with self._changed:
            for group in self._groups.values():
                _send(group, kind)
                _send(group, signal.SIGCONT)
            for process in self._outside:
                _send(process, signal.SIGCONT, os.kill)

    def close(self) -> None:
        """Stop listening; nothing runs any more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            kind, _, name = connection.makefile("r", encoding="utf-8").readline().strip().partition(" ")
            if kind == "measure" and self._begin(name):
                try:
                    connection.sendall(GO)
                    connection.recv(1)
                finally:
                    self._go_on(name)
            elif kind == HOLD:
                connection.recv(1)

    def _begin(self, name: str) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._measuring is None or name not in self._groups)
            if name not in self._groups:
                return False
            self._measuring = name
            others = [group for other, group in self._groups.items() if other != name]
            for group in others:
                _send(group, signal.SIGSTOP)
            self._outside = running_below(others)
            for process in self._outside:
                _send(process, signal.SIGSTOP, os.kill)
        self._listen(name)
        return True

    def _go_on(self, name: str) -> None:
        with self._changed:
            if self._measuring != name:
                return
            self._measuring = None
            for group in self._groups.values():
                _send(group, signal.SIGCONT)
            for process in self._outside:
                _send(process, signal.SIGCONT, os.kill)
            self._outside = []
            self._changed.notify_all()
        self._listen(None)


def _short_folder() -> Path:
    """A new folder for the socket, whose whole path may have about a hundred bytes."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="tamis-build-", dir=usual if len(os.fsencode(usual)) <= LONGEST else "/tmp"))


def _send(group: int, kind: signal.Signals, by: Callable[[int, signal.Signals], None] = os.killpg) -> None:
    with suppress(ProcessLookupError, PermissionError):
        by(group, kind)
