"""A program that loads one lowered model and answers requests; it needs NumPy and the model's runtime, not tamis.

Run as ``python serve_model.py FD KIND PATH SETTINGS``: ``FD`` is an inherited socket, ``KIND`` a name in ``KINDS``,
``SETTINGS`` JSON. It lies beside the modules of ``KINDS``, which a device gets with it.

A message is a JSON header, followed by the bytes of each array that the header describes::

    {"request": "describe"}                          -> {"inputs": [[name, dtype, shape], ...], "outputs": [name, ...]}
    {"request": "run", "arrays": [...]}              -> {"arrays": [...]}
    {"request": "time", "count": 10, "arrays": ...}  -> {"wall": ns, "cpu": ns}, a call; without arrays: the last ones

Any answer can be ``{"error": text}`` instead; the program goes on, unless it is the model that cannot be loaded. It ends
when the socket is closed, however the other side has ended.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from itertools import repeat
from multiprocessing.connection import Connection
from typing import Any, Protocol, runtime_checkable

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = {
    "onnxruntime": "onnx_session:OnnxSession",
    "tvm": "tvm_library:TvmLibrary",
    "tvm-cuda": "cuda_library:CudaLibrary",
}
"""Kind of a lowered model -> module beside this one and class, called with (path, settings)."""

TEXT = "string"
"""The dtype in headers of arrays of texts, which travel as a JSON list."""


class Model(Protocol):
    """What the classes of ``KINDS`` make."""

    inputs: tuple[tuple[str, str | None, tuple[int | str | None, ...]], ...]
    """Name, dtype (``string`` for texts, None if NumPy has none) and shape of each input, in order."""
    outputs: tuple[str, ...]

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. Whatever the runtime raises is let through."""
        ...


@runtime_checkable
class TimesItself(Protocol):
    """A model that runs somewhere else, and times calls there."""

    def timed(self, feeds: Mapping[str, Array], count: int) -> tuple[float, float]:
        """Wall and CPU time of one of ``count`` calls, nanoseconds."""
        ...


def send(connection: Connection, header: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
    """Send a message."""
    described = None if arrays is None else [[n, _dtype(a), list(a.shape)] for n, a in arrays.items()]
    connection.send_bytes(json.dumps({**header, "arrays": described}).encode())
    for array in (arrays or {}).values():
        connection.send_bytes(json.dumps(_texts(array)).encode() if _dtype(array) == TEXT else array.tobytes())


def receive(connection: Connection) -> tuple[dict[str, Any], dict[str, Array] | None]:
    """Receive a message: its header, and its arrays by name if it has any. Raises ``EOFError`` or ``OSError``."""
    header: dict[str, Any] = json.loads(connection.recv_bytes())
    described = header.pop("arrays")
    if described is None:
        return header, None
    return header, {n: _array(connection.recv_bytes(), dtype, shape) for n, dtype, shape in described}


def _dtype(array: Array) -> str:
    return TEXT if array.dtype.kind in "UOS" else array.dtype.str


def _texts(array: Array) -> list[Any]:
    return [text.decode() if isinstance(text, bytes) else text for text in array.ravel().tolist()]


def _array(data: bytes, dtype: str, shape: list[int]) -> Array:
    if dtype == TEXT:
        texts = np.empty(shape, object)
        texts.reshape(-1)[:] = json.loads(data)
        return texts
    return np.ndarray(tuple(shape), dtype, buffer=bytearray(data))


class Service:
    """Answers requests about ``model``, whose last feeds are kept for timing."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._feeds: dict[str, Array] | None = None

    def answer(self, request: Mapping[str, Any], feeds: dict[str, Array] | None) -> tuple[Any, dict[str, Array] | None]:
        """Header and arrays of the answer to a request."""
        if feeds is not None:
            self._feeds = feeds
        if request["request"] == "describe":
            return {"inputs": self._model.inputs, "outputs": self._model.outputs}, None
        if self._feeds is None:
            raise ValueError("there are no feeds to run")
        if request["request"] == "time":
            return self._time(self._feeds, request["count"]), None
        return {}, self._model(self._feeds)

    def _time(self, feeds: dict[str, Array], count: int) -> dict[str, float]:
        model = self._model
        if isinstance(model, TimesItself):
            wall_time, cpu_time = model.timed(feeds, count)
            return {"wall": wall_time, "cpu": cpu_time}
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in repeat(None, count):
            model(feeds)
        stopped = time.perf_counter_ns()
        return {"wall": (stopped - wall) / count, "cpu": (time.process_time_ns() - cpu) / count}


def load(kind: str, path: str, settings: Mapping[str, Any]) -> Model:
    """Load a model. Whatever its runtime raises is let through."""
    module, _, name = KINDS[kind].partition(":")
    found = importlib.import_module(f".{module}", __package__) if __package__ else importlib.import_module(module)
    model: Model = getattr(found, name)(path, settings)
    return model


def serve(connection: Connection, loader: Callable[[], Model]) -> None:
    """Load the model and answer until the connection is closed."""
    try:
        service = Service(loader())
    except Exception as error:  # noqa: BLE001  (whatever the runtime raises is the other side's to tell)
        send(connection, {"error": _text(error)})
        return
    while True:
        try:
            request, feeds = receive(connection)
        except (EOFError, ConnectionError):
            return
        try:
            header, arrays = service.answer(request, feeds)
        except Exception as error:  # noqa: BLE001  (whatever the runtime raises is the other side's to tell)
            header, arrays = {"error": _text(error)}, None
        send(connection, header, arrays)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def leave_out_torch() -> None:
    """Let no import find PyTorch: ``tvm_ffi`` loads it if it is there, which takes seconds, and nothing here uses it."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def main() -> None:
    """Serve the model that the command line names."""
    descriptor, kind, path, settings = sys.argv[1:]
    leave_out_torch()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is told by its signal; a dump would fill the disk
    serve(Connection(int(descriptor)), lambda: load(kind, path, json.loads(settings)))


if __name__ == "__main__":
    main()
