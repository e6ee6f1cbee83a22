"""A module to a library with CUDA kernels, on a machine without a GPU. Runs in the compiler process.

Kernels get the default GPU schedules of TVM (dlight). Their CUDA C is compiled by NVRTC for the machine's GPU, which proves
that it compiles, and what the assembler says each kernel takes is held to the machine's limits.

The library carries the CUDA C, as TVM writes it on a machine without a GPU; ``kernels.cubin`` (for this GPU) and
``kernels.ptx`` (for later ones) lie beside it, so that the device needs no compiler: see
``tamis.targets.links.cuda_library``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.s_tir import dlight

from tamis.compiler.errors import LoweringError
from tamis.compiler.machine_data import Gpu
from tamis.targets.tvm.export import export_library
from tamis.targets.tvm.gpu.checklist import device_checklist
from tamis.targets.tvm.gpu.launches import Launch, watch_split
from tamis.targets.tvm.gpu.nvrtc import Compiled, compile_source
from tamis.targets.tvm.gpu.ptxas_log import usage_of_kernels
from tamis.targets.tvm.gpu.resources import Kernel, Usage, require_fit
from tamis.targets.tvm.importing import Report
from tamis.targets.tvm.pipeline import FRONT, run_phases
from tamis.targets.tvm.settings import Settings

LIBRARY = "model.so"
SOURCE, CUBIN, PTX, KERNELS = "kernels.cu", "kernels.cubin", "kernels.ptx", "kernels.json"
CHECKLIST = "on-device.md"
INTRINSICS = "tvm.s_tir.tensor_intrin.cuda"
LAST_LINES = 6
"""Lines of the compiler's log that an error quotes."""


def build_cuda(
    module: tvm.IRModule, target: dict[str, Any], out: Path, machine_gpu: dict[str, Any], report: Report
) -> dict[str, Any]:
    """Compile for a GPU.

    Args:
        module: As imported.
        target: For ``tvm.target.Target``: ``cuda`` with a host.
        out: Folder to write to.
        machine_gpu: The ``gpu`` section of the machine.
        report: Gets the name of each phase.

    Returns:
        ``files``, the library first, and ``kernels``, the rows of ``kernels.json``.

    Raises:
        LoweringError: A kernel does not compile, or takes more than the GPU has.
    """
    gpu = Gpu.model_validate(machine_gpu)
    cuda = tvm.target.Target(target)
    module = schedule_for_gpu(run_phases(module, FRONT, cuda, Settings(threads=1, prepack=False), report), cuda, report)
    report({"phase": "generate code"})
    split = watch_split()
    with tvm.transform.PassContext(instruments=split.instruments):
        executable = relax.build(module, cuda)
    launches = split.launches()
    source = cuda_source(executable)
    report({"phase": "compile kernels"})
    compiled = compile_source(source, gpu.compute)
    kernels = _kernels(launches, compiled, gpu)
    report({"phase": "link"})
    export_library(executable, out / LIBRARY, str(target["host"]["mtriple"]))
    files = _write(out, source, compiled, kernels, gpu)
    return {"files": [LIBRARY, *files], "kernels": [kernel.to_json() for kernel in kernels]}


def schedule_for_gpu(module: tvm.IRModule, target: tvm.target.Target, report: Report) -> tvm.IRModule:
    """The default schedules: a rule for each kind of kernel, the first that fits."""
    report({"phase": "schedule"})
    rules = (
        dlight.gpu.Matmul(),
        dlight.gpu.GEMV(),
        dlight.gpu.Reduction(),
        dlight.gpu.GeneralReduction(),
        dlight.gpu.Fallback(),
    )
    with target, real_intrinsics():
        return dlight.ApplyDefaultSchedule(*rules)(module)


@contextmanager
def real_intrinsics() -> Iterator[None]:
    """Let TVM import CUDA's tensor intrinsics, which only products of 16-bit floats and of bytes need.

    The compiler process has an empty module in their place, since importing them takes over 20 s.
    """
    stub = sys.modules.pop(INTRINSICS, None)
    try:
        yield
    finally:
        if stub is not None:
            sys.modules.setdefault(INTRINSICS, stub)


def cuda_source(executable: relax.VMExecutable) -> str:
    """The CUDA C that an executable carries; empty if nothing runs on the GPU."""
    sources = [module.inspect_source("cuda") for module in _modules(executable.mod) if module.kind == "cuda"]
    if len(sources) > 1:
        raise LoweringError("TVM made more than one CUDA module", expected="one", found=str(len(sources)))
    return sources[0] if sources else ""


def _modules(module: Any) -> Iterator[Any]:
    yield module
    for imported in module.imports:
        yield from _modules(imported)


def _kernels(launches: list[Launch], compiled: Compiled, gpu: Gpu) -> list[Kernel]:
    usages = usage_of_kernels(compiled.log)
    kernels = [_kernel(launch, usages[launch.kernel]) for launch in launches if launch.kernel in usages]
    require_fit(kernels, gpu)
    if compiled.cubin is None:
        said = " | ".join(compiled.log.strip().splitlines()[-LAST_LINES:])
        raise LoweringError(f"the generated CUDA does not compile for {gpu.compute}", found=said)
    if absent := sorted({launch.kernel for launch in launches} - usages.keys()):
        raise LoweringError("kernels are launched that the compiler reports nothing on", found=", ".join(absent))
    return sorted(set(kernels), key=lambda kernel: kernel.name)


def _kernel(launch: Launch, usage: Usage) -> Kernel:
    return Kernel(launch.kernel, launch.block(), launch.grid(), launch.dynamic_shared(), usage)


def _write(out: Path, source: str, compiled: Compiled, kernels: list[Kernel], gpu: Gpu) -> list[str]:
    assert compiled.cubin is not None and compiled.ptx is not None
    (out / SOURCE).write_text(source, encoding="utf-8")
    (out / CUBIN).write_bytes(compiled.cubin)
    (out / PTX).write_bytes(compiled.ptx)
    document = {
        "compute": gpu.compute,
        "source": hashlib.sha256(source.encode()).hexdigest(),
        "kernels": [kernel.to_json() for kernel in kernels],
    }
    (out / KERNELS).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (out / CHECKLIST).write_text(device_checklist(gpu, kernels), encoding="utf-8")
    return [SOURCE, CUBIN, PTX, KERNELS, CHECKLIST]
