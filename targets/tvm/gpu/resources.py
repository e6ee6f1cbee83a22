"""What each kernel of a compiled model takes of a GPU, and whether the GPU has it.

Limits after the CUDA Programming Guide, section 5.1 "Compute Capabilities"; they come with the machine.
Registers are given to warps in units of 256, so a block takes more of them than its threads use
(CUDA Occupancy Calculator, "Register Allocation Unit Size").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tamis.compiler.errors import LoweringError
from tamis.compiler.machine_data import Gpu

REGISTER_UNIT = 256
"""Registers that a warp gets at once."""


@dataclass(frozen=True)
class Usage:
    """What the assembler gave a kernel.

    Args:
        registers: 32-bit registers of a thread.
        static_shared: Shared memory that the kernel declares, bytes a block.
        stack: Local memory of a thread, bytes; it lies in the device's memory.
        spill_stores: Bytes a thread writes because registers ran out.
        spill_loads: Bytes a thread reads back.
    """

    registers: int
    static_shared: int
    stack: int
    spill_stores: int
    spill_loads: int


@dataclass(frozen=True)
class Kernel:
    """A kernel as it is launched.

    Args:
        name: Of the function on the device.
        block: Threads a block in x, y and z.
        grid: Blocks in x, y and z; None where it depends on the inputs' sizes.
        dynamic_shared: Shared memory asked for at the launch, bytes a block.
        usage: What the assembler gave it.
    """

    name: str
    block: tuple[int, int, int]
    grid: tuple[int | None, int | None, int | None]
    dynamic_shared: int
    usage: Usage

    @property
    def threads(self) -> int:
        """Threads a block."""
        x, y, z = self.block
        return x * y * z

    @property
    def shared(self) -> int:
        """Shared memory, bytes a block."""
        return self.usage.static_shared + self.dynamic_shared

    def registers_per_block(self, warp_size: int) -> int:
        """What a block takes of the registers."""
        warps = -(-self.threads // warp_size)
        per_warp = -(-self.usage.registers * warp_size // REGISTER_UNIT) * REGISTER_UNIT
        return warps * per_warp

    def to_json(self) -> dict[str, Any]:
        """A row of ``kernels.json``."""
        return {
            "name": self.name,
            "grid": list(self.grid),
            "block": list(self.block),
            "threads": self.threads,
            "dynamic_shared": self.dynamic_shared,
            **asdict(self.usage),
        }


@dataclass(frozen=True)
class Excess:
    """A kernel that takes more than there is."""

    kernel: str
    resource: str
    used: int
    limit: int

    def __str__(self) -> str:
        return f"kernel {self.kernel!r} takes {self.used} {self.resource}, the limit is {self.limit}"


def excesses(kernels: Iterable[Kernel], gpu: Gpu) -> Iterator[Excess]:
    """Every limit of ``gpu`` that a kernel is over."""
    for kernel in kernels:
        for resource, used, limit in (
            ("threads a block", kernel.threads, gpu.max_threads_per_block),
            ("registers a thread", kernel.usage.registers, gpu.registers_per_thread),
            ("registers a block", kernel.registers_per_block(gpu.warp_size), gpu.registers_per_block),
            ("bytes of static shared memory", kernel.usage.static_shared, gpu.shared_memory_per_block),
            ("bytes of shared memory", kernel.shared, gpu.shared_memory_per_block_optin),
        ):
            if used > limit:
                yield Excess(kernel.name, resource, used, limit)


def require_fit(kernels: Iterable[Kernel], gpu: Gpu) -> None:
    """Refuse kernels that the GPU cannot launch.

    Raises:
        LoweringError: Names the first kernel, the resource and the limit, and counts the others.
    """
    over = list(excesses(kernels, gpu))
    if not over:
        return
    first = over[0]
    more = f" (and {len(over) - 1} more)" if len(over) > 1 else ""
    raise LoweringError(
        f"a kernel does not fit {gpu.compute}{more}",
        where=f"kernel {first.kernel!r}",
        expected=f"at most {first.limit} {first.resource}",
        found=str(first.used),
        fix="choose runtime onnxruntime for this target, and report the model",
    )
