# mypy: disable-error-code="valid-type, untyped-decorator"
"""Instructions that sum four products of 8-bit integers in each lane. Runs in the compiler process.

TVM's own description of the instruction of x86 does not compile with LLVM 22, whose operands are bytes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import tvm
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm.target.codegen import llvm_get_system_triple, target_has_features

DEPTH = 4
"""Products in a lane."""
MARK = "tamis.dot"
"""Annotation of a block that sums such products: the instruction's ``prefix``."""
COPY = "tamis.dot_copy"
"""Annotation of a block that makes the data as the instruction wants it."""


@dataclass(frozen=True)
class DotUnit:
    """A processor's instruction.

    Args:
        prefix: With the number of lanes appended, the name under which TVM knows the instruction.
        data: Element type of the operand that a whole row of lanes shares; the other operand is of int8.
        lanes: Numbers of lanes that there are instructions for, most first.
        registers: Vector registers.
    """

    prefix: str
    data: str
    lanes: tuple[int, ...]
    registers: int

    def width(self, columns: int) -> int | None:
        """The most lanes that divide ``columns``; None if none do."""
        return next((n for n in self.lanes if columns % n == 0), None)


VNNI = DotUnit("tamis.vpdpbusd.", "uint8", (16, 8, 4), 32)
SDOT = DotUnit("tamis.sdot.", "int8", (4,), 32)
UNITS = {unit.prefix: unit for unit in (VNNI, SDOT)}


def dot_unit(target: tvm.target.Target) -> DotUnit | None:
    """That of a target with kind ``llvm``; None if it has none that pays."""
    if str(target.kind.name) != "llvm":
        return None
    triple = str(target.attrs.get("mtriple", "") or llvm_get_system_triple())
    if triple.startswith("x86_64") and target_has_features(["avx512vnni", "avx512vl"], target):
        return VNNI
    if triple.startswith(("aarch64", "arm64")) and target_has_features("dotprod", target):
        return SDOT
    return None


@functools.cache
def register() -> None:
    """Let schedules name the instructions; for the whole process."""
    for unit, intrinsic in ((VNNI, "llvm.x86.avx512.vpdpbusd."), (SDOT, "llvm.aarch64.neon.sdot.v4i32.v16i8")):
        for lanes in unit.lanes:
            name = f"{intrinsic}{32 * lanes}" if unit is VNNI else intrinsic
            TensorIntrin.register(f"{unit.prefix}{lanes}", *_functions(unit.data, lanes, name))


def _functions(data: str, lanes: int, intrinsic: str) -> tuple[tvm.tirx.PrimFunc, tvm.tirx.PrimFunc]:
    """What the instruction computes, and the call of it."""
    size = DEPTH * lanes
    row, packed, sums = f"{data}x{DEPTH}", f"int8x{size}", f"int32x{lanes}"
    spread = f"{data}x{size}"
    number = tvm.target.codegen.llvm_lookup_intrinsic_id(intrinsic)

    @T.prim_func(s_tir=True)
    def meaning(
        A: T.Buffer((DEPTH,), data, offset_factor=1),
        B: T.Buffer((lanes, DEPTH), "int8", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:DEPTH], B[0:lanes, 0:DEPTH])
            T.writes(C[0:lanes])
            for i in T.serial(0, lanes):
                for k in T.serial(0, DEPTH):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        C[vi] = C[vi] + T.cast(A[vk], "int32") * T.cast(B[vi, vk], "int32")

    @T.prim_func(s_tir=True)
    def instruction(
        A: T.Buffer((DEPTH,), data, offset_factor=1),
        B: T.Buffer((lanes, DEPTH), "int8", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:DEPTH], B[0:lanes, 0:DEPTH])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                T.uint32(number),
                C.vload([0], dtype=sums),
                T.reinterpret(T.broadcast(T.reinterpret(A.vload([0], row), dtype="int32"), lanes), dtype=spread),
                B.vload([0, 0], dtype=packed),
                dtype=sums,
            )

    return meaning, instruction
