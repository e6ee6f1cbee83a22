"""The compiler process: reads requests, runs commands, tells where it is. The only entry to everything that imports TVM.

Messages are JSON: ``{"command", "arguments"}`` in; any number of ``{"report"}`` and then one ``{"result"}`` or
``{"error"}`` out.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from multiprocessing.connection import Connection
from typing import Any

from tamis.targets.links.serve_model import leave_out_torch

COMMANDS = {
    "build": "tamis.targets.tvm.build:build",
    "tune": "tamis.targets.tvm.tuning.tune:tune",
}
"""Name -> module and function ``(arguments, report) -> result``."""

UNUSED_INTRINSICS = ("cuda", "rocm", "hexagon", "riscv_cpu")
"""Modules of ``tvm.s_tir.tensor_intrin`` that no CPU schedule uses; importing those of CUDA takes over 20 s."""

LONGEST_MESSAGE = 300


def leave_out_unused() -> None:
    """Put empty modules in the place of ``UNUSED_INTRINSICS``, and leave out PyTorch."""
    leave_out_torch()
    for name in UNUSED_INTRINSICS:
        name = f"tvm.s_tir.tensor_intrin.{name}"
        sys.modules.setdefault(name, types.ModuleType(name))


class Reporter:
    """Sends reports and remembers the last place, for errors."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.last: dict[str, Any] = {}

    def __call__(self, report: dict[str, Any]) -> None:
        if "phase" in report:
            self.last = {key: report.get(key) for key in ("phase", "op", "node")}
        self._connection.send_bytes(json.dumps({"report": report}).encode())


def serve(connection: Connection) -> None:
    """Answer requests until the parent closes the connection."""
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except (EOFError, ConnectionError):
            return
        report = Reporter(connection)
        try:
            module, name = COMMANDS[message["command"]].split(":")
            answer: dict[str, Any] = {
                "result": getattr(importlib.import_module(module), name)(message["arguments"], report)
            }
        except Exception as error:  # noqa: BLE001  (whatever TVM raises is the parent's to tell)
            answer = {"error": {**report.last, "type": type(error).__name__, "message": message_of(error)}}
        connection.send_bytes(json.dumps(answer).encode())


def message_of(error: Exception) -> str:
    """The telling line of a message of TVM, which may hold a C++ trace and a whole module."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = next((line for line in reversed(lines) if not line.startswith(("File ", "at ", "^", "|"))), "")
    return telling[:LONGEST_MESSAGE]


def main() -> None:
    """Serve the file descriptor that the command line names."""
    import warnings

    warnings.simplefilter("ignore")
    leave_out_unused()
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
