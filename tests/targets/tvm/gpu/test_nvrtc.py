"""CUDA C is compiled, and what the assembler says is read."""

from __future__ import annotations

from importlib import metadata

import pytest

from tamis.compiler.errors import LoweringError, TargetUnavailableError
from tamis.compiler.machine import find_machine
from tamis.targets.tvm.gpu import nvrtc
from tamis.targets.tvm.gpu.ptxas_log import usage_of_kernels
from tamis.targets.tvm.gpu.resources import Usage

LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
ptxas         .     256 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 256 bytes cumulative stack size, 4096 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 39.268 ms
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 360 bytes cmem[0]
"""
SCALE = """#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(64) scale(float* x, const half* y) {
  __shared__ float s[64];
  s[threadIdx.x] = __half2float(y[threadIdx.x]);
  __syncthreads();
  x[threadIdx.x] = threadIdx.x ? s[63 - threadIdx.x] : INFINITY;
}"""
TOO_MUCH = SCALE.replace("s[64]", "s[13000]")


def test_the_log_of_the_assembler() -> None:
    assert usage_of_kernels(LOG) == {"first": Usage(32, 4096, 256, 12, 8), "second": Usage(8, 0, 0, 0, 0)}
    assert usage_of_kernels("") == {}
    with pytest.raises(ValueError, match="nothing on kernel 'k'"):
        usage_of_kernels("ptxas info : Compiling entry function 'k' for 'sm_80'\n")


@pytest.mark.parametrize("machine", ["nvidia-sm80", "nvidia-sm86", "nvidia-sm89", "nvidia-sm90", "jetson-orin"])
def test_each_machine_has_a_compiler(machine: str) -> None:
    gpu = find_machine(machine).gpu
    assert gpu is not None
    found = nvrtc.compile_source(SCALE, gpu.compute)
    assert found.cubin is not None and found.ptx is not None
    assert found.cubin[:4] == b"\x7fELF"
    assert f".target {gpu.compute}".encode() in found.ptx
    usage = usage_of_kernels(found.log)["scale"]
    assert usage.static_shared == 256
    assert usage.registers > 0


def test_usage_is_told_of_kernels_that_do_not_fit() -> None:
    found = nvrtc.compile_source(TOO_MUCH, "sm_80")
    assert found.cubin is None
    assert usage_of_kernels(found.log)["scale"].static_shared == 52000


def test_errors_in_the_source() -> None:
    found = nvrtc.compile_source('extern "C" __global__ void k() { mistake; }', "sm_80")
    assert found.cubin is None and found.ptx is None
    assert "mistake" in found.log
    with pytest.raises(LoweringError, match="nvrtcCompileProgram"):
        nvrtc.compile_source("", "sm_none")


def test_where_the_compiler_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert nvrtc.unavailable() is None

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    nvrtc._library.cache_clear()
    monkeypatch.setattr(metadata, "distribution", missing)
    try:
        assert str(nvrtc.unavailable()).endswith("pip install 'tamis[cuda]'")
        with pytest.raises(TargetUnavailableError, match="NVRTC is not installed"):
            nvrtc.compile_source(SCALE, "sm_80")
    finally:
        nvrtc._library.cache_clear()
