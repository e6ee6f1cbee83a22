"""How a module's kernels are launched, taken from TVM's IR while it is lowered. Runs in the compiler process.

TVM splits every function into one for the host and one for the device (``SplitHostDevice``). The one for the host then
holds a call ``call_ffi_kernel(name, operands..., launch values...)`` whose attribute says what each launch value is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm.ir.instrument import pass_instrument
from tvm_ffi.structural import structural_walk

SPLIT = "SplitHostDevice"
CALL = "tirx.call_ffi_kernel"
DYNAMIC_SHARED = "tirx.use_dyn_shared_memory"
BLOCK = tuple(f"threadIdx.{axis}" for axis in "xyz")
GRID = tuple(f"blockIdx.{axis}" for axis in "xyz")


@dataclass(frozen=True)
class Launch:
    """One call of a kernel by the host.

    Args:
        function: Name of the function that TVM's virtual machine calls.
        kernel: Name of the kernel.
        operands: What the kernel is given, as expressions of the host's function.
        extents: Value by tag, e.g. ``threadIdx.x``; an integer, or an expression in sizes of the inputs.
    """

    function: str
    kernel: str
    operands: tuple[Any, ...]
    extents: dict[str, Any]

    def block(self) -> tuple[int, int, int]:
        """Threads a block in x, y and z."""
        x, y, z = (self._size(tag) for tag in BLOCK)
        if x is None or y is None or z is None:
            raise ValueError(f"kernel {self.kernel!r} has blocks whose size depends on the inputs")
        return x, y, z

    def grid(self) -> tuple[int | None, int | None, int | None]:
        """Blocks in x, y and z; None where it depends on the inputs."""
        x, y, z = (self._size(tag) for tag in GRID)
        return x, y, z

    def dynamic_shared(self) -> int:
        """Bytes of shared memory asked for at the launch."""
        size = self.extents.get(DYNAMIC_SHARED, 0)
        return int(size)

    def _size(self, tag: str) -> int | None:
        value = self.extents.get(tag, 1)
        return int(value) if isinstance(value, int | tvm.tirx.IntImm) else None


@dataclass
class Split:
    """The module as it was just after the split; made by ``watch_split``."""

    module: tvm.IRModule | None = None
    instruments: list[Any] = field(default_factory=list)

    def launches(self) -> list[Launch]:
        """Every launch, in the order of the functions; none if there was nothing to split."""
        functions = {} if self.module is None else self.module.functions
        return [
            launch for variable, function in functions.items() for launch in launches_of(variable.name_hint, function)
        ]


def watch_split() -> Split:
    """An instrument for ``tvm.transform.PassContext(instruments=split.instruments)`` that keeps the split module."""
    split = Split()

    @pass_instrument
    class Watch:
        def run_after_pass(self, module: tvm.IRModule, info: Any) -> None:
            if info.name.endswith(SPLIT):
                split.module = module

    split.instruments.append(Watch())
    return split


def launches_of(name: str, function: Any) -> list[Launch]:
    """The launches in a function for the host, in the order of execution."""
    calls: list[Any] = []

    def visit(call: Any) -> None:
        if isinstance(call.op, tvm.ir.Op) and call.op.name == CALL:
            calls.append(call)

    structural_walk(function.body, (tvm.ir.Call, visit))
    return [_launch(name, call.args, call.attrs.launch_params) for call in calls]


def _launch(function: str, arguments: Sequence[Any], tags: Sequence[str]) -> Launch:
    valued = [tag for tag in map(str, tags) if tag == DYNAMIC_SHARED or tag in BLOCK or tag in GRID]
    if len(valued) != len(tags):
        raise ValueError(f"{function!r} is launched in a way that is not known: {', '.join(map(str, tags))}")
    values = arguments[len(arguments) - len(valued) :]
    operands = arguments[1 : len(arguments) - len(valued)]
    return Launch(function, str(arguments[0].value), tuple(operands), dict(zip(valued, values, strict=True)))
