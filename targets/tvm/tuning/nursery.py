"""A process that has TVM loaded and forks workers: a new worker costs milliseconds instead of seconds.

Its only argument is the file descriptor of a socket. Each message on it is the name of a module, with a descriptor
attached; the forked worker answers requests on that one by the module's ``answer(request) -> reply``, both JSON data.
Its first message there is its process id.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any

LONGEST_NAME = 200
LONGEST_MESSAGE = 300
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends; elsewhere workers end when their socket closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Load TVM, then fork a worker for each message."""
    from tamis.targets.tvm.child_main import leave_out_unused

    die_with_parent()
    leave_out_unused()
    for module in sys.argv[2:]:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            name, descriptors, _, _ = socket.recv_fds(requests, LONGEST_NAME, 1)
            if not descriptors:
                return
            if os.fork() == 0:
                requests.close()
                _work(name.decode(), Connection(descriptors[0]))
            os.close(descriptors[0])


def _work(module: str, connection: Connection) -> None:
    """Serve one worker's requests; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent()
    answer = importlib.import_module(module).answer
    try:
        connection.send_bytes(json.dumps({"pid": os.getpid()}).encode())
        while True:
            connection.send_bytes(json.dumps(_reply(answer, json.loads(connection.recv_bytes()))).encode())
    except (EOFError, ConnectionError):
        os._exit(0)
    finally:
        os._exit(1)


def _reply(answer: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        reply: dict[str, Any] = answer(request)
    except Exception as error:  # noqa: BLE001  (a failed trial is the answer, whatever TVM raised)
        lines = str(error).strip().splitlines()
        return {"error": f"{type(error).__name__}: {lines[-1].strip() if lines else ''}"[:LONGEST_MESSAGE]}
    return reply


if __name__ == "__main__":
    main()
