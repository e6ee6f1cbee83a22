"""What is computed in 8-bit integers, for one machine: the table in ``int8_kernels.yaml``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.machine_data import Machine

FILE = "int8_kernels.yaml"
INSTRUCTIONS = {"avx512_vnni": ("uint8", "int8"), "asimddp": ("int8", "int8")}
"""Feature of the machine -> element types of the operands of its dot-product instruction: activations, weights."""


def has_dot_product(machine: Machine) -> bool:
    """Whether the CPU has an instruction for which integer products pay; without it, floats are as fast."""
    return machine.gpu is None and any(name in machine.isa for name in INSTRUCTIONS)


def int8_kernels(machine: Machine) -> Int8Kernels | None:
    """What is computed in integers on such a CPU; None if it has no instruction for it."""
    if not has_dot_product(machine):
        return None
    return _of_instruction(next(name for name in INSTRUCTIONS if name in machine.isa))


@cache
def _of_instruction(name: str) -> Int8Kernels:
    data = yaml.safe_load(files("tamis.targets.tvm").joinpath(FILE).read_text(encoding="utf-8"))
    activations, weights = INSTRUCTIONS[name]
    return Int8Kernels.model_validate({"types": {"activations": activations, "weights": weights}, **data})
