"""A process of ours that answers over a socket and ends with us: started, heard, and explained when it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import IO

LAST_LINES = 3
LONGEST_LINE = 200
QUIT_SECONDS = 5.0
DESCRIPTOR = "{descriptor}"
"""Stands in a command for the number of the file descriptor of the process' end of the socket."""


class AttachedProcess:
    """A process in a session of its own, which Ctrl-C at the terminal does not reach.

    It is killed with everything that it started by ``close``, when this object is gone, and when this interpreter exits.
    If this process is killed, the other one sees the end of the socket.

    Args:
        command: Program and arguments; ``DESCRIPTOR`` in one of them is replaced.
        environment: All its environment variables.

    Attributes:
        connection: Our end of the socket.

    Raises:
        OSError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        output = tempfile.TemporaryFile()  # noqa: SIM115  (closed by _end)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [part.replace(DESCRIPTOR, str(theirs.fileno())) for part in command],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env=dict(environment),
                )
        except BaseException:
            ours.close()
            output.close()
            raise
        self._output = output
        self.connection = Connection(ours.detach())
        self._finalizer = weakref.finalize(self, _end, self._process, self.connection, output)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def epitaph(self) -> str:
        """How the process, which has closed its end of the socket, has ended, and the last lines that it wrote."""
        try:
            code = self._process.wait(QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            how = "it closed the connection and went on"
        else:
            how = f"signal {_signal_name(-code)}" if code < 0 else f"exit status {code}"
        return how + "".join(f"; {line}" for line in self.last_lines())

    def last_lines(self) -> list[str]:
        """The last lines that the process wrote to its standard output and error."""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").split("\n")
        return [line.strip()[:LONGEST_LINE] for line in lines if line.strip()][-LAST_LINES:]

    def pause(self) -> None:
        """Stop the process and what it started, until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on; one that was not paused goes on anyway."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)

    def close(self) -> None:
        """End the process with everything that it started. Can be called again."""
        self._finalizer()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _end(process: subprocess.Popen[bytes], connection: Connection, output: IO[bytes]) -> None:
    connection.close()
    output.close()
    try:
        os.killpg(process.pid, signal.SIGKILL)  # the process leads a group of its own
    except ProcessLookupError:
        return
    finally:
        process.wait()
