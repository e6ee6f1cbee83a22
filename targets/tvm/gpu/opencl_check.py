"""Executes a model's GPU kernels on the CPU, one by one, against the same kernels without a schedule.

::

    Relax module ── dlight for CUDA ──> OpenCL C ── PoCL, on the CPU ──┐
          └──────── no schedule ──────> LLVM, on the CPU ──────────────┴── equal?

The schedules are those of the CUDA build: tiles, thread indices, shared memory and barriers are executed as they will be on
the GPU. What differs from the CUDA C is how a warp's threads are summed up (shared memory here, shuffles there), and the
languages' spelling. Runs in a process with TVM; needs the packages ``pyopencl`` and ``pocl-binary-distribution``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm_ffi.structural import structural_walk

from tamis.compiler.machine_data import Gpu
from tamis.targets.tvm.gpu.build_cuda import schedule_for_gpu
from tamis.targets.tvm.gpu.launches import Launch, launches_of, watch_split
from tamis.targets.tvm.importing import Report
from tamis.targets.tvm.pipeline import FRONT, run_phases
from tamis.targets.tvm.settings import Settings

Array = NDArray[Any]
LIMITS = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2}
"""Normwise relative error that the order of a sum may cause; other types must be equal."""
DATA = "tirx.buffer_data"
_CACHE = tempfile.TemporaryDirectory(prefix="tamis-")


@dataclass(frozen=True)
class Check:
    """What became of a function.

    Args:
        function: Its name in the module.
        kernels: Names of the kernels that it launches.
        error: Largest absolute difference over the largest absolute value expected.
        limit: What is allowed.
    """

    function: str
    kernels: tuple[str, ...]
    error: float
    limit: float

    @property
    def equal(self) -> bool:
        """Whether the kernels compute what they should."""
        return self.error <= self.limit


@dataclass(frozen=True)
class Checked:
    """What became of a model.

    Args:
        checks: One for each function that was executed.
        unchecked: Functions that TVM writes for GPUs alone, such as sorting: there is nothing to compare them with.
    """

    checks: tuple[Check, ...]
    unchecked: tuple[str, ...]


def check_kernels(module: tvm.IRModule, gpu: Gpu, report: Report, seed: int = 0) -> Checked:
    """Run the kernels of a model on random inputs.

    Args:
        module: As imported, with static shapes.
        gpu: Whose schedules to check.
        report: Gets the name of each phase.
        seed: Of the inputs.
    """
    limits = {
        "max_threads_per_block": gpu.max_threads_per_block,
        "max_shared_memory_per_block": gpu.shared_memory_per_block,
    }
    host = {"kind": "llvm"}
    cuda = tvm.target.Target(
        {"kind": "cuda", "arch": gpu.compute, "thread_warp_size": gpu.warp_size, **limits, "host": host}
    )
    opencl = tvm.target.Target({"kind": "opencl", "max_num_threads": gpu.max_threads_per_block, **limits, "host": host})
    fused = run_phases(module, FRONT, cuda, Settings(threads=1, prepack=False), report)
    plain = _functions(fused)
    unchecked = tuple(sorted(name for name, function in plain.items() if _is_for_gpus(function)))
    for name in unchecked:
        del plain[name]
    report({"phase": "build the reference"})
    reference = tvm.compile(tvm.IRModule(plain), tvm.target.Target(host))
    functions = _functions(schedule_for_gpu(fused, cuda, report))
    scheduled = {name: functions[name] for name in plain}
    report({"phase": "generate OpenCL C"})
    split = watch_split()
    with tvm.transform.PassContext(instruments=split.instruments):
        library = tvm.tirx.build(tvm.IRModule(scheduled), opencl)
    device = _Device("".join(m.inspect_source() for m in library.imports if m.kind == "opencl"))
    rng = np.random.default_rng(seed)
    assert split.module is not None
    checks: list[Check] = []
    for name in sorted(plain):
        report({"phase": "execute", "op": name})
        arrays = [_random(p, rng) for p in plain[name].params]
        expected = [tvm.runtime.tensor(array.copy()) for array in arrays]
        reference[name](*expected)
        function = split.module[name]
        launches = launches_of(name, function)
        found = device.run(function, launches, arrays)
        pairs = [(got, want.numpy()) for got, want in zip(found, expected, strict=True)]
        error = max(_error(got, want) for got, want in pairs)
        limit = max(LIMITS.get(want.dtype.name, 0.0) for _, want in pairs)
        checks.append(Check(name, tuple(launch.kernel for launch in launches), error, limit))
    return Checked(tuple(checks), unchecked)


def _is_for_gpus(function: Any) -> bool:
    """Whether a function that was not scheduled has threads."""
    found: list[str] = []
    structural_walk(function.body, (tvm.tirx.AttrStmt, lambda statement: found.append(statement.attr_key)))
    return "thread_extent" in found


def _functions(module: tvm.IRModule) -> dict[str, Any]:
    return {
        variable.name_hint: function.with_attr("global_symbol", variable.name_hint)
        for variable, function in module.functions.items()
        if isinstance(function, tvm.tirx.PrimFunc)
    }


def _random(parameter: Any, rng: np.random.Generator) -> Array:
    """Values of both signs; integers are 0 and 1, which any size of a gathered axis but one allows."""
    shape = [int(size) for size in parameter.ty.shape]
    dtype = np.dtype(str(parameter.ty.dtype))
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _error(got: Array, want: Array) -> float:
    if got.dtype.kind != "f":
        return 0.0 if np.array_equal(got, want) else float("inf")
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return float("inf")
    scale = float(np.abs(want[finite]).max(initial=0.0))
    difference = float(np.abs(got[finite].astype(np.float64) - want[finite].astype(np.float64)).max(initial=0.0))
    return difference / scale if scale else difference


@cache
def _pyopencl() -> Any:
    """The module ``pyopencl``; compiled kernels are kept as long as the process, since PoCL takes its folder but once."""
    os.environ["POCL_CACHE_DIR"] = _CACHE.name
    os.environ["PYOPENCL_NO_CACHE"] = "1"
    import pyopencl

    return pyopencl


class _Device:
    """The CPU as an OpenCL device, with the program of a model.

    Args:
        source: OpenCL C with every kernel.
    """

    def __init__(self, source: str) -> None:
        self._cl = pyopencl = _pyopencl()
        platform = next(p for p in pyopencl.get_platforms() if p.name == "Portable Computing Language")
        self._context = pyopencl.Context(platform.get_devices())
        self._queue = pyopencl.CommandQueue(self._context)
        self._program = pyopencl.Program(self._context, source).build()

    def run(self, function: Any, launches: list[Launch], arrays: list[Array]) -> list[Array]:
        """Do what the host's function would: launch its kernels in order.

        Args:
            function: For the host, after the split.
            launches: Its launches.
            arrays: One for each parameter; left as they are.

        Returns:
            The arrays afterwards.
        """
        flags = self._cl.mem_flags.READ_WRITE | self._cl.mem_flags.COPY_HOST_PTR
        buffers = [self._cl.Buffer(self._context, flags, hostbuf=_not_empty(array)) for array in arrays]
        bound = list(zip(function.params, buffers, strict=True))
        bound += [(variable, self._workspace(variable)) for variable in _workspaces(function)]
        views = _views(function)
        for launch in launches:
            block, grid = launch.block(), launch.grid()
            size = [b * g for b, g in zip(block, grid, strict=True) if g is not None]
            operands = [_resolve(operand, views, bound) for operand in launch.operands]
            self._cl.Kernel(self._program, launch.kernel)(self._queue, size, list(block), *operands)
        found = [np.empty_like(_not_empty(array)) for array in arrays]
        for array, buffer in zip(found, buffers, strict=True):
            self._cl.enqueue_copy(self._queue, array, buffer)
        self._queue.finish()
        return [array.reshape(-1)[: a.size].reshape(a.shape) for array, a in zip(found, arrays, strict=True)]

    def _workspace(self, variable: Any) -> Any:
        items = int(np.prod([int(size) for size in variable.ty.shape], dtype=np.int64))
        size = max(1, items) * np.dtype(str(variable.ty.dtype)).itemsize
        return self._cl.Buffer(self._context, self._cl.mem_flags.READ_WRITE, size=size)


def _not_empty(array: Array) -> Array:
    return array if array.size else np.zeros(1, array.dtype)


def _workspaces(function: Any) -> Iterator[Any]:
    """Buffers that the host allocates on the device, for kernels that follow each other."""
    found: list[Any] = []
    structural_walk(function.body, (tvm.tirx.AllocBuffer, lambda statement: found.append(statement.buffer)))
    return iter(found)


def _views(function: Any) -> list[tuple[Any, Any]]:
    """Buffers that are declared on the memory of others, with the expression of that memory."""
    found: list[tuple[Any, Any]] = []
    structural_walk(
        function.body, (tvm.tirx.DeclBuffer, lambda statement: found.append((statement.buffer, statement.data)))
    )
    return found


def _resolve(operand: Any, views: list[tuple[Any, Any]], bound: list[tuple[Any, Any]]) -> Any:
    """The OpenCL buffer that an operand of a kernel stands for."""
    while isinstance(operand, tvm.ir.Call) and operand.op.name == DATA:
        variable = operand.args[0]
        for known, buffer in bound:
            if known.same_as(variable):
                return buffer
        operand = next((data for view, data in views if view.same_as(variable)), None)
    raise ValueError(f"a kernel is given {operand}, which is no buffer of its function")
