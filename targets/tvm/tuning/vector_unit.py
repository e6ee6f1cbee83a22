"""The vector registers of a CPU target. Runs in the compiler process."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm.target.codegen import llvm_get_system_triple, target_has_features

BITS = {"float64": 64, "int64": 64, "uint64": 64, "float16": 16, "bfloat16": 16, "int8": 8, "uint8": 8, "bool": 8}


@dataclass(frozen=True)
class VectorUnit:
    """What register tiles are made for.

    Args:
        bits: Width of a register.
        registers: How many there are.
        threads: How many cores share a kernel.
    """

    bits: int
    registers: int
    threads: int

    def lanes(self, dtype: str) -> int:
        """Elements in a register."""
        return self.bits // BITS.get(dtype, 32)


def vector_unit(target: tvm.target.Target) -> VectorUnit:
    """That of a target with kind ``llvm``."""
    threads = int(target.attrs.get("num-cores", 1))
    triple = str(target.attrs.get("mtriple", "") or llvm_get_system_triple())
    if not triple.startswith(("x86_64", "i686")):
        return VectorUnit(128, 32 if triple.startswith(("aarch64", "arm64")) else 16, threads)
    if target_has_features("avx512vl", target):
        return VectorUnit(512, 32, threads)
    return VectorUnit(256 if target_has_features("avx2", target) else 128, 16, threads)
