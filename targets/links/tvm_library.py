"""A library that TVM has made, loaded without TVM's compiler: needs the package ``tvm_ffi`` and ``libtvm_runtime.so``."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

RUNTIME = "libtvm_runtime.so"
ALIGNMENT = 64
"""What generated code may assume of the address of an input, bytes; NumPy's own arrays are aligned to 16."""
CPU, POOLED = 1, 2
"""DLPack's code of the CPU, and TVM's of the allocator that keeps what it has freed."""
MAIN = "main"
PACK_WEIGHTS = "main_transform_params"
"""The function that puts weights into the order that kernels read, in libraries that were compiled with prepacking."""
WEIGHTS = "weights.npz"
"""The file beside a library that holds its weights, if the library does not."""


class TvmLibrary:
    """Call it with a dict of arrays, get a dict of arrays.

    TVM's own checks refuse wrong element types and shapes. Calls from several threads wait for each other.

    Args:
        path: The library.
        settings: ``threads``; ``inputs``, each with ``name``, ``dtype`` and ``shape`` (a text for a dynamic dimension);
            ``outputs``, names in the order in which the library returns them; ``weights``, ``beside`` if they are in the
            file ``WEIGHTS`` beside the library. Other entries are left alone.

    Raises:
        OSError: ``libtvm_runtime.so`` cannot be loaded; or the file of weights.
        ImportError: ``tvm_ffi`` or the package with ``libtvm_runtime.so`` is not installed.
        RuntimeError: The library cannot be loaded.
    """

    device: ClassVar[int] = CPU
    """DLPack's code of the device that kernels run on."""

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.inputs: tuple[tuple[str, str | None, tuple[int | str | None, ...]], ...] = tuple(
            (i["name"], i["dtype"], tuple(i["shape"])) for i in settings["inputs"]
        )
        self.outputs: tuple[str, ...] = tuple(settings["outputs"])
        self._ffi = self._start(Path(path), int(settings["threads"]))
        module = self._ffi.load_module(os.path.abspath(path))  # noqa: PTH100  (dlopen wants it absolute, links kept)
        machine = module["vm_load_executable"]()
        machine["vm_initialization"](self.device, 0, POOLED, CPU, 0, POOLED)
        self._main = machine[MAIN]
        packs = machine.implements_function(PACK_WEIGHTS, True)
        packed = machine[PACK_WEIGHTS]([]) if packs else ()
        self._weights = (*packed, *self._tensors(read_weights(path, settings)))
        self._buffers: dict[str, tuple[Array, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises:
            ValueError, RuntimeError: The feeds do not fit, or a kernel failed.
        """
        if len(feeds) != len(self.inputs):
            raise ValueError(f"{len(self.inputs)} inputs are needed, {len(feeds)} were given")
        with self._lock:
            found = self._main(*[self._tensor(name, feeds[name]) for name, _, _ in self.inputs], *self._weights)
            outputs = found if isinstance(found, self._ffi.Array | tuple | list) else (found,)
            return {name: self._array(value) for name, value in zip(self.outputs, outputs, strict=True)}

    def _start(self, path: Path, threads: int) -> Any:
        """The module ``tvm_ffi``, ready for the library at ``path``."""
        return _runtime(threads)

    def _tensors(self, arrays: Iterable[Array]) -> list[Any]:
        """The arrays as TVM takes them, each a copy at an aligned address."""
        found = []
        for array in arrays:
            buffer = _aligned(array)
            buffer[...] = array
            found.append(self._ffi.from_dlpack(buffer))
        return found

    def _tensor(self, name: str, array: Array) -> Any:
        """The array as TVM takes it: a copy at an aligned address, used again for the next array of the same kind."""
        if name not in self._buffers or not _alike(self._buffers[name][0], array):
            buffer = _aligned(array)
            self._buffers[name] = (buffer, self._ffi.from_dlpack(buffer))
        buffer, tensor = self._buffers[name]
        buffer[...] = array
        return tensor

    def _array(self, value: Any) -> Array:
        """An output of its own: what TVM returns may lie in an input or be a constant of the library."""
        if isinstance(value, self._ffi.Shape):
            return np.array(list(value), np.int64)
        found: Array = np.array(np.from_dlpack(value))
        return found


def read_weights(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> Iterator[Array]:
    """The weights beside the library at ``path``, in the order in which it takes them, read one by one."""
    if settings.get("weights") != "beside":
        return
    with np.load(Path(path).parent / WEIGHTS) as archive:
        for i in range(len(archive.files)):
            yield archive[str(i)]


def _alike(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def _aligned(like: Array) -> Array:
    """An uninitialized array of the same shape and element type, at an aligned address."""
    memory = np.empty(like.nbytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + like.nbytes].view(like.dtype).reshape(like.shape)


def _runtime(threads: int) -> Any:
    """The module ``tvm_ffi`` with TVM's runtime in this process.

    TVM reads the number of threads when a thread first runs a kernel, so that all libraries that one thread runs get the
    number of the first.
    """
    os.environ["TVM_NUM_THREADS"] = str(threads)
    import tvm_ffi

    load_runtime(RUNTIME)
    return tvm_ffi


def load_runtime(name: str) -> None:
    """Load a library of the package ``tvm``, which is not imported. Raises ``OSError``, or ``ImportError`` without it."""
    spec = importlib.util.find_spec("tvm")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (found := Path(folder) / "lib" / name).is_file():
            ctypes.CDLL(str(found), ctypes.RTLD_GLOBAL)
            return
    raise ImportError(f"{name} cannot be found: the package apache-tvm is not installed")
