"""A library that TVM has made for an NVIDIA GPU, loaded without TVM's compiler and without a CUDA toolkit.

Needs what ``tvm_library`` needs, and ``libtvm_runtime_cuda.so`` with NVIDIA's driver and ``libcudart.so.13``. The library
carries CUDA C. When TVM asks for it to be compiled, it gets what was compiled beforehand and lies beside the library:
``kernels.cubin`` on the GPU that it was compiled for, ``kernels.ptx`` on others, which the driver compiles.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING or __package__:
    from tamis.targets.links.tvm_library import CPU, Array, TvmLibrary, load_runtime
else:  # beside serve_model.py, which is run as a program
    from tvm_library import CPU, Array, TvmLibrary, load_runtime

RUNTIME = "libtvm_runtime_cuda.so"
COMPILE = "tvm_callback_cuda_compile"
"""What TVM calls with CUDA C when it loads a library; returns machine code or assembly."""
CUDA = 2
COMPUTE_VERSION = 4
"""TVM's number of the attribute of a device that is its compute capability, a text such as ``8.0``."""


class CudaLibrary(TvmLibrary):
    """Call it with a dict of arrays, get a dict of arrays; they are copied to the GPU and back.

    Args:
        path: The library; ``kernels.json``, ``kernels.cubin`` and ``kernels.ptx`` lie beside it.
        settings: As for ``TvmLibrary``.

    Raises:
        OSError: The driver, a library of CUDA or a file is missing.
        ImportError: ``tvm_ffi`` is not installed.
        RuntimeError: The library cannot be loaded.
    """

    device: ClassVar[int] = CUDA

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        super().__init__(path, settings)
        functions = self._ffi.get_global_func
        self._allocate = functions("runtime.TVMTensorAllocWithScope")
        self._copy = functions("runtime.TVMTensorCopyFromTo")
        self._read = functions("runtime.TVMTensorCopyToBytes")
        self._on_device: dict[str, tuple[Any, Any]] = {}

    def _start(self, path: Path, threads: int) -> Any:
        ffi = super()._start(path, threads)
        _load_cudart()
        load_runtime(RUNTIME)
        attribute = ffi.get_global_func("runtime.GetDeviceAttr")
        offer = compiled_kernels(path.parent, lambda: str(attribute(CUDA, 0, COMPUTE_VERSION)))
        ffi.register_global_func(COMPILE, offer, override=True)
        return ffi

    def _tensor(self, name: str, array: Array) -> Any:
        here = super()._tensor(name, array)
        known, there = self._on_device.get(name, (None, None))
        if known is not here:
            there = self._allocate(here.shape, here.dtype, self._ffi.device(self.device, 0), None)
            self._on_device[name] = (here, there)
        self._copy(here, there)
        return there

    def _array(self, value: Any) -> Array:
        if isinstance(value, self._ffi.Shape) or value.device.dlpack_device_type() == CPU:
            return super()._array(value)
        found = np.empty(tuple(value.shape), str(value.dtype))
        self._read(value, ctypes.c_void_p(found.ctypes.data), found.nbytes)  # waits for the kernels
        return found


def compiled_kernels(folder: Path, compute: Callable[[], str]) -> Callable[[str], bytes]:
    """What answers TVM's wish to compile.

    Args:
        folder: With ``kernels.json``, ``kernels.cubin`` and ``kernels.ptx``.
        compute: Tells the compute capability of the GPU at hand, e.g. ``8.0``.

    Returns:
        A function that takes CUDA C and returns machine code, or assembly if the GPU is another one. It raises
        ``RuntimeError`` if the source is not the one that was compiled.
    """
    facts = json.loads((folder / "kernels.json").read_text(encoding="utf-8"))

    def answer(source: str) -> bytes:
        if hashlib.sha256(source.encode()).hexdigest() != facts["source"]:
            raise RuntimeError(f"{folder / 'kernels.cubin'} was compiled from another source; compile the model again")
        same = facts["compute"] == "sm_" + compute().replace(".", "")
        if same:
            return (folder / "kernels.cubin").read_bytes()
        return (folder / "kernels.ptx").read_bytes() + b"\0"  # the driver takes it as a text that ends so

    return answer


def _load_cudart() -> None:
    """Load CUDA's runtime library of the package ``nvidia-cuda-runtime``; without that package the system's is taken."""
    try:
        files = metadata.files("nvidia-cuda-runtime") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name.startswith("libcudart.so"):
            ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)
