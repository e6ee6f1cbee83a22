"""``tamis`` as a child of a build: the same command, which ends when the build dies."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tamis.compiler.alone import SOCKET_VARIABLE
from tamis.compiler.building.quiet import GRACE_SECONDS, HOLD


def main(run: Callable[[list[str]], int]) -> int:
    """Run the command line with ``run``."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have let it be ignored
    if path := os.environ.get(SOCKET_VARIABLE):
        threading.Thread(target=_end_with, args=(path,), daemon=True).start()
    return run(sys.argv[1:])


def _end_with(path: str) -> None:
    """Interrupt this process when the build at the other end of the socket is gone, and kill it if that does not help."""
    with socket.socket(socket.AF_UNIX) as build:
        try:
            build.connect(path)
            build.sendall(f"{HOLD}\n".encode())
            build.recv(1)
        except OSError:
            pass
    with suppress(OSError):  # a build that was killed has not removed its folder
        Path(path).unlink(missing_ok=True)
        Path(path).parent.rmdir()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    from tamis.compiler.cli.app import run

    sys.exit(main(run))
