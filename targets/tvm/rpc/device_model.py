"""A program that runs one lowered model on a device and answers requests, as ``links.serve_model`` does for one that it runs.

Run as ``python device_model.py FD KIND PATH SETTINGS``; the settings have an entry ``device``, see ``session``.
Calls are timed on the device, by its clock, so that the network is no part of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tamis.targets.links import serve_model
from tamis.targets.links.tvm_library import CPU, PACK_WEIGHTS, POOLED, read_weights
from tamis.targets.tvm.rpc.device_error import DeviceError
from tamis.targets.tvm.rpc.session import CALL_SECONDS, DeviceSession

Array = np.ndarray[Any, np.dtype[Any]]

SINGLE = -1
"""What TVM gives as the number of outputs if there is one, not in a tuple."""


class DeviceLibrary:
    """Call it with a dict of arrays, get a dict of arrays, computed on the device.

    Args:
        session: With the device.
        path: The library.
        settings: ``inputs``, ``outputs`` and ``weights``, see ``TvmLibrary``.

    Raises:
        DeviceError: The device failed, with the phase.
    """

    def __init__(self, session: DeviceSession, path: Path, settings: Mapping[str, Any]) -> None:
        self.inputs: tuple[tuple[str, str | None, tuple[int | str | None, ...]], ...] = tuple(
            (i["name"], i["dtype"], tuple(i["shape"])) for i in settings["inputs"]
        )
        self.outputs: tuple[str, ...] = tuple(settings["outputs"])
        self._session = session
        session.upload(path)
        library = session.load(path)
        with session.phase("load", CALL_SECONDS):
            self._machine = library.get_function("vm_load_executable")()
            self._machine.get_function("vm_initialization")(CPU, 0, POOLED, CPU, 0, POOLED)
        with session.phase("load weights", CALL_SECONDS):
            self._weights = [*self._packed_weights(), *(session.tensor(a) for a in read_weights(path, settings))]
        self._feeds: Mapping[str, Array] | None = None

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. Raises ``DeviceError``."""
        with self._session.phase("run", CALL_SECONDS):
            self._send(feeds)
            self._function("invoke_stateful")("main")
            count = self._function("get_output_arity")("main")
            places: list[tuple[int, ...]] = [()] if count == SINGLE else [(i,) for i in range(count)]
            found = [self._array(self._function("get_output")("main", *place)) for place in places]
            return dict(zip(self.outputs, found, strict=True))

    def timed(self, feeds: Mapping[str, Array], count: int) -> tuple[float, float]:
        """Wall and CPU time of one of ``count`` calls, nanoseconds. TVM gives no CPU time: it is the wall time here.

        Raises:
            DeviceError: The device failed.
        """
        with self._session.phase("measure", CALL_SECONDS * max(1.0, count / 10)):
            if feeds is not self._feeds:
                self._send(feeds)
            wall = self._session.seconds(self._machine, "invoke_stateful", ["main"], count)[0] * 1e9
        return wall, wall

    def _send(self, feeds: Mapping[str, Array]) -> None:
        if len(feeds) != len(self.inputs):
            raise ValueError(f"{len(self.inputs)} inputs are needed, {len(feeds)} were given")
        self._feeds = None
        given = [self._session.tensor(feeds[name]) for name, _, _ in self.inputs]
        self._function("set_input")("main", *given, *self._weights)
        self._feeds = feeds

    def _packed_weights(self) -> list[Any]:
        """What the kernels of the library read their weights from, made and kept on the device."""
        if not self._machine.implements_function(PACK_WEIGHTS, True):
            return []
        none = self._session.function("ffi.Array")()
        packed = self._function(PACK_WEIGHTS)(none)
        count, item = self._session.function("ffi.ArraySize")(packed), self._session.function("ffi.ArrayGetItem")
        return [item(packed, i) for i in range(count)]

    def _array(self, value: Any) -> Array:
        if hasattr(value, "dtype"):
            return self._session.array(value)
        size, element = (self._session.function(f"rpc.testing.GetShape{what}") for what in ("Size", "Elem"))
        return np.array([element(value, i) for i in range(size(value))], np.int64)

    def _function(self, name: str) -> Any:
        return self._machine.get_function(name)


def main() -> None:
    """Serve the model that the command line names."""
    descriptor, _, path, text = sys.argv[1:]
    serve_model.leave_out_torch()
    connection, settings = Connection(int(descriptor)), json.loads(text)

    def too_late(error: DeviceError) -> None:
        serve_model.send(connection, {"error": str(error)})
        os._exit(1)

    def load() -> DeviceLibrary:
        session = DeviceSession(settings["device"], settings["threads"], too_late)
        return DeviceLibrary(session, Path(path), settings)

    serve_model.serve(connection, load)


if __name__ == "__main__":
    main()
