"""What a block of a kernel computes and how it reads, as far as a schedule depends on it. In the compiler process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tvm
import tvm_ffi
from tvm.s_tir.schedule import SBlockRV, Schedule

SLOW = frozenset({"exp", "exp2", "log", "log2", "tanh", "erf", "sigmoid", "pow", "sin", "cos", "rsqrt"})
"""Functions that cost more than a load."""


@dataclass(frozen=True)
class Access:
    """One load.

    Args:
        buffer: What it reads.
        coefficients: Of each of the block's variables, a mapping for each dimension; loads leave out dimensions of size
            1 at the end, since what is before them is what lies side by side in memory.
        dtype: Of the element.
        affine: Whether the indices are linear in the variables.
    """

    buffer: Any
    coefficients: tuple[dict[str, int], ...]
    dtype: str
    affine: bool

    def uses(self, variable: str) -> bool:
        """Whether the address depends on the variable."""
        return any(c.get(variable, 0) for c in self.coefficients)

    def steps_by_one(self, variable: str) -> bool:
        """Whether the next value of the variable is the next element in memory."""
        *outer, inner = self.coefficients or ({},)
        return inner.get(variable, 0) == 1 and not any(c.get(variable, 0) for c in outer)


class BlockFacts:
    """Facts of one block of a schedule, as it is now.

    Args:
        schedule: The schedule.
        block: The block.
    """

    def __init__(self, schedule: Schedule, block: SBlockRV) -> None:
        self.block = block
        self.stmt = schedule.get(block)
        self.name = str(self.stmt.name_hint)

    @cached_property
    def extents(self) -> dict[str, int]:
        """Size of each variable, in order. Variables are numbered, since their names need not differ."""
        return {self.key(i.var): int(i.dom.extent) for i in self.stmt.iter_vars}

    @cached_property
    def spatial(self) -> tuple[str, ...]:
        """Variables that number the results, in order."""
        return tuple(self.key(i.var) for i in self.stmt.iter_vars if i.iter_type == tvm.tirx.IterVar.DataPar)

    @cached_property
    def reduced(self) -> tuple[str, ...]:
        """Variables that are summed over, in order."""
        return tuple(self.key(i.var) for i in self.stmt.iter_vars if i.iter_type == tvm.tirx.IterVar.CommReduce)

    @property
    def regular(self) -> bool:
        """Whether there are only spatial and reduced variables, of known sizes."""
        known = all(isinstance(i.dom.extent, tvm.tirx.IntImm) for i in self.stmt.iter_vars)
        return known and len(self.spatial) + len(self.reduced) == len(self.stmt.iter_vars)

    @property
    def dtype(self) -> str:
        """Of the result."""
        return str(self.stmt.writes[0].source.dtype)

    @cached_property
    def points(self) -> int:
        """How often the body is executed."""
        return math.prod(self.extents.values())

    @cached_property
    def results(self) -> int:
        """How many elements it writes."""
        return math.prod(self.extents[v] for v in self.spatial)

    @cached_property
    def store(self) -> Access | None:
        """Where it writes; None if it writes to several places."""
        stores = [n for n in self._nodes if isinstance(n, tvm.tirx.BufferStore)]
        return self._access(stores[0].buffer, stores[0].indices) if len(stores) == 1 else None

    @cached_property
    def loads(self) -> tuple[Access, ...]:
        """What it reads, its own result aside."""
        written = [w.source for w in self.stmt.writes]
        return tuple(
            self._access(n.source, n.indices[: _without_ones(n.source.shape)])
            for n in self._nodes
            if isinstance(n, tvm.ir.TensorLoad) and not any(n.source.same_as(b) for b in written)
        )

    @cached_property
    def slow(self) -> int:
        """Calls of slow functions in one execution of the body."""
        return sum(name in SLOW for name in self._calls)

    @cached_property
    def conditional(self) -> bool:
        """Whether it chooses between values, as padding does."""
        return "if_then_else" in self._calls

    def key(self, variable: Any) -> str:
        """The name of a variable here."""
        for number, item in enumerate(self.stmt.iter_vars):
            if item.var.same_as(variable):
                return f"{number}:{item.var.name}"
        raise KeyError(str(variable))

    @cached_property
    def _nodes(self) -> list[Any]:
        return nodes_of(self.stmt.body, (tvm.tirx.BufferStore, tvm.ir.TensorLoad, tvm.ir.Call))

    @cached_property
    def _calls(self) -> list[str]:
        return [
            str(n.op.name).rpartition(".")[2]
            for n in self._nodes
            if isinstance(n, tvm.ir.Call) and hasattr(n.op, "name")
        ]

    def _access(self, buffer: Any, indices: Any) -> Access:
        variables = [i.var for i in self.stmt.iter_vars]
        rows, affine = [], True
        for index in indices:
            linear = tvm.sym.detect_linear_equation(index, variables)
            affine = affine and len(linear) > 0
            row = {}
            for variable, coefficient in zip(variables, list(linear)[:-1], strict=False):
                if isinstance(coefficient, tvm.tirx.IntImm):
                    row[self.key(variable)] = int(coefficient.value)
                else:
                    affine = False
            if not len(linear):
                row = {self.key(v): 2 for v in variables if _uses(index, v)}
            rows.append(row)
        return Access(buffer, tuple(rows), str(buffer.dtype), affine)


def blocks_of(schedule: Schedule) -> Iterator[BlockFacts]:
    """The blocks of a kernel, in the order of execution."""
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        yield BlockFacts(schedule, block)


def _without_ones(shape: Any) -> int:
    """How many dimensions there are before those of size 1 at the end, at least one."""
    sizes = list(shape)
    while len(sizes) > 1 and isinstance(sizes[-1], tvm.tirx.IntImm) and int(sizes[-1].value) == 1:
        sizes.pop()
    return len(sizes)


def _uses(expression: Any, variable: Any) -> bool:
    return any(v.same_as(variable) for v in nodes_of(expression, (tvm.tirx.Var,)))


def nodes_of(root: Any, kinds: tuple[type, ...]) -> list[Any]:
    """All nodes of these kinds at and below ``root``."""
    found: list[Any] = []
    tvm_ffi.structural_walk(root, (kinds, lambda node: found.append(node)))
    return found
