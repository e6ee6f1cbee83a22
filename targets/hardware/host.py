"""Describe the machine that this process runs on.

Microarchitecture and instruction sets come from archspec, caches from the operating system. The limits
of a container (CPU affinity, cgroup v2 quota) count, since they are what this process can use.
"""

from __future__ import annotations

import math
import os
import platform
from functools import cache
from pathlib import Path

from tamis.compiler.target import Caches, Int8Units, Llvm, Machine

FEATURES = (
    "amx_int8", "amx_tile", "asimd", "asimddp", "avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512bw", "avx512f",
    "avx_vnni", "bf16", "f16c", "fma", "fphp", "i8mm", "neon", "sse4_1", "sve",
)  # fmt: skip
"""The features that kernels of the supported runtimes ask for; the others are left out."""

VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}
SIMD_BITS = (("avx512f", 512), ("avx2", 256), ("avx", 256), ("asimd", 128), ("neon", 128), ("sse4_1", 128))
ARCH = {"amd64": "x86-64", "x86_64": "x86-64", "arm64": "aarch64", "aarch64": "aarch64"}
UNKNOWN_CACHE = 0


@cache
def detect() -> Machine:
    """The machine at hand under the name ``host``."""
    import archspec.cpu

    arch = ARCH.get(platform.machine().lower(), platform.machine().lower())
    micro = archspec.cpu.host()
    isa = set(FEATURES) & (set(micro.features) | _flags())
    threads = usable_threads()
    simd = next((bits for feature, bits in SIMD_BITS if feature in isa), 128)
    arm = arch == "aarch64"
    return Machine(
        name="host",
        description=f"{_model_name() or micro.name} ({micro.name}), {platform.system()}",
        arch=arch,
        isa=tuple(sorted(isa)),
        cores=min(threads, _physical_cores() or threads),
        threads=threads,
        caches=_caches(),
        simd_bits=simd,
        channel_multiple=16 if simd == 512 else 8,
        int8=Int8Units(pair="s8s8" if arm else "u8s8", saturates=not arm and not isa & VNNI),
        fast_dtypes=("float32", "float64", "int8", *(("float16",) if "fphp" in isa else ())),
        runtimes=("onnxruntime", "tvm"),
        llvm=Llvm(triple=_triple(arch), cpu=_llvm_cpu(micro.name)),
    )


def usable_threads() -> int:
    """Hardware threads that this process may use: the affinity mask, cut by the cgroup's CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _read(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, max(1, math.ceil(int(quota[0]) / int(quota[1]))))
    return count


def _caches() -> Caches:
    sizes = {"l1d": UNKNOWN_CACHE, "l2": UNKNOWN_CACHE, "l3": UNKNOWN_CACHE}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = _read(index / "level").strip(), _read(index / "type").strip()
        key = {"1": "l1d", "2": "l2", "3": "l3"}.get(level)
        if key and kind != "Instruction":
            sizes[key] = _bytes(_read(index / "size").strip())
    return Caches(**sizes)


def _bytes(text: str) -> int:
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    digits = text.rstrip("KM")
    return int(digits) * unit if digits.isdigit() else UNKNOWN_CACHE


def _physical_cores() -> int:
    pairs = {
        (_read(p / "physical_package_id"), _read(p / "core_id"))
        for p in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology")
    }
    return len(pairs)


def _cpuinfo(key: str) -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _model_name() -> str:
    return _cpuinfo("model name")


def _flags() -> set[str]:
    return set((_cpuinfo("flags") or _cpuinfo("Features")).split())


def _triple(arch: str) -> str:
    cpu = {"x86-64": "x86_64"}.get(arch, arch)
    return {"Darwin": f"{cpu}-apple-darwin", "Windows": f"{cpu}-pc-windows-msvc"}.get(
        platform.system(), f"{cpu}-linux-gnu"
    )


def _llvm_cpu(name: str) -> str:
    import archspec.cpu

    flags = archspec.cpu.TARGETS[name].optimization_flags("clang", "16.0")
    named = [f.partition("=")[2] for f in flags.split() if f.startswith(("-march=", "-mcpu="))]
    return named[0] if named else "generic"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
