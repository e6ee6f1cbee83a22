"""The machine at hand as a ``Machine``: detected, never assumed.

What follows from an instruction set is in small tables, the first row whose feature is present counts.
8-bit units after MLAS, the kernels of ONNX Runtime: without VNNI its unsigned-by-signed product adds pairs
in 16 bits and clips them (``vpmaddubsw``); with VNNI, and on ARM, sums are exact. Channel multiples are
the block of its NCHWc layout: 16 with AVX-512 and on 64-bit ARM, 8 on other x86.
"""

from __future__ import annotations

import platform
import re
import sys
from functools import cache
from typing import Any, TypeVar

from tamis.compiler.machine_data import Int8Units, Llvm, Machine
from tamis.targets.hardware.cpu_limits import usable_cpus, usable_threads
from tamis.targets.hardware.cpu_topology import caches, cores

T = TypeVar("T")

ARCHITECTURES = {"x86_64": "x86-64", "amd64": "x86-64", "arm64": "aarch64", "aarch64": "aarch64"}

FEATURES = {
    "ssse3": "ssse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "avx2": "avx2",
    "avx_vnni": "avxvnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512_vnni": "avx512vnni",
    "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16",
    "amx_tile": "amx-tile",
    "amx_int8": "amx-int8",
    "amx_bf16": "amx-bf16",
    "asimd": "neon",
    "asimdhp": "fullfp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
}
"""Features that matter to kernels, named as Linux and archspec name them -> LLVM's name."""

INT8 = (
    ("avx512_vnni", Int8Units(pair="u8s8", saturates=False)),
    ("avx_vnni", Int8Units(pair="u8s8", saturates=False)),
    ("ssse3", Int8Units(pair="u8s8", saturates=True)),
    ("asimd", Int8Units(pair="s8s8", saturates=False)),
    ("", Int8Units(pair="s8s8", saturates=False)),
)
SIMD_BITS = (("avx512f", 512), ("avx", 256), ("ssse3", 128), ("asimd", 128), ("", 64))
CHANNEL_MULTIPLE = (("avx512f", 16), ("asimd", 16), ("", 8))
FAST_DTYPES = (
    ("", "float32"),
    ("", "float64"),
    ("ssse3", "int8"),
    ("asimd", "int8"),
    ("avx512_fp16", "float16"),
    ("asimdhp", "float16"),
    ("avx512_bf16", "bfloat16"),
    ("bf16", "bfloat16"),
)
"""Element type -> any feature that gives it native arithmetic; here all rows that apply count."""

TRIPLES = {"linux": "{}-linux-gnu", "darwin": "{}-apple-darwin", "win32": "{}-pc-windows-msvc"}


@cache
def detect() -> Machine:
    """Describe this machine, as far as this process may use it."""
    from archspec.cpu import brand_string, host
    from archspec.cpu.detect import detected_info

    found = host()
    features = set(detected_info().features) | set(found.features)
    cpus, threads = usable_cpus(), usable_threads()
    brand = " ".join((brand_string() or platform.processor() or "unknown CPU").split())
    return machine_from(
        features,
        arch=host_arch(),
        description=f"{brand} ({found.name}, {threads} thread{'s' if threads > 1 else ''})",
        llvm_cpu=_llvm_cpu(found),
        cpus=cpus,
        threads=threads,
    )


def host_arch() -> str:
    """Instruction set family of this process: x86-64, aarch64, or as the system calls it."""
    name = platform.machine().lower()
    return ARCHITECTURES.get(name, name)


def machine_from(
    features: set[str], *, arch: str, description: str, llvm_cpu: str, cpus: tuple[int, ...], threads: int
) -> Machine:
    """What follows from the facts."""
    isa = tuple(sorted(features & FEATURES.keys()))
    return Machine(
        name="host",
        description=description,
        arch=arch,
        isa=isa,
        cores=min(cores(cpus), threads),
        threads=threads,
        caches=caches(cpus),
        simd_bits=_first(SIMD_BITS, features),
        channel_multiple=_first(CHANNEL_MULTIPLE, features),
        int8=_first(INT8, features),
        fast_dtypes=tuple(dict.fromkeys(t for feature, t in FAST_DTYPES if not feature or feature in features)),
        runtimes=("onnxruntime", "tvm"),
        llvm=Llvm(
            triple=TRIPLES.get(sys.platform, "{}-unknown").format("x86_64" if arch == "x86-64" else arch),
            cpu=llvm_cpu,
            features=tuple(sorted(f"+{FEATURES[f]}" for f in isa)),
        ),
    )


def _first(table: tuple[tuple[str, T], ...], features: set[str]) -> T:
    return next(value for feature, value in table if not feature or feature in features)


def _llvm_cpu(microarchitecture: Any) -> str:
    """LLVM's name of the CPU, as clang is told it; ``generic`` if archspec does not know one."""
    from archspec.cpu import UnsupportedMicroarchitecture

    try:
        flags = microarchitecture.optimization_flags("clang", "19.1.0")
    except UnsupportedMicroarchitecture:
        return "generic"
    match = re.search(r"-mcpu=(\S+)", flags) or re.search(r"-mtune=(\S+)", flags)
    return match[1] if match else "generic"
