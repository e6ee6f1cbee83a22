"""Which kernels a module has, how often each is called, and what names it across processes and models.

Runs in the compiler process.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.s_tir.schedule import Schedule

from tamis.targets.tvm.tuning.prefetch import with_prefetches

SCHEDULED = "tirx.is_scheduled"
LAYOUT_FREE = "layout_free_buffers"
NARROW = 1 << 30
"""Arrays of fewer elements are indexed with 32 bits; a border or a last tile may add some."""
LONG_NAMES = (
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "layer_norm",
    "log_softmax",
    "strided_slice",
    "expand_dims",
    "broadcast_to",
    "conv2d_transpose",
)
"""Names of operators with an underscore or a number inside, which also separates the parts of a kernel's name."""


@dataclass(frozen=True)
class Task:
    """A kernel to find a schedule for.

    Args:
        digest: Names the computation: equal for equal kernels, in whatever model and process, whatever they are called.
        name: What TVM calls it in this model.
        operators: The operators that were fused into it.
        module: The kernel alone, as ``main``.
        weight: How often the model calls it.
        flops: Floating-point operations of a call.
    """

    digest: str
    name: str
    operators: tuple[str, ...]
    module: tvm.IRModule
    weight: int
    flops: float

    @property
    def constant_bytes(self) -> int:
        """Size of the weights that a call reads, as far as their order is free."""
        parameters = self.module["main"].params
        return sum(_bytes(parameters[i]) for i in layout_free(self.module))


def extract_tasks(module: tvm.IRModule) -> list[Task]:
    """The kernels of a module after the front passes, the order of their names' first appearance.

    Kernels with symbolic sizes are left out: schedules are for fixed ones.
    """
    calls = call_counts(module)
    found: dict[str, Task] = {}
    for variable, function in sorted(module.functions_items(), key=lambda item: str(item[0].name_hint)):
        if not is_kernel(function) or variable.name_hint not in calls:
            continue
        digest, alone = workload_digest(function), as_main(function)
        weight = calls[variable.name_hint] + (found[digest].weight if digest in found else 0)
        name = found[digest].name if digest in found else str(variable.name_hint)
        found[digest] = Task(digest, name, operators_of(name), alone, weight, _flops(alone))
    return list(found.values())


def is_kernel(function: Any) -> bool:
    """Whether a function is one that schedules are for: unscheduled, with blocks, and all sizes known."""
    if not isinstance(function, tvm.tirx.PrimFunc) or (function.attrs and SCHEDULED in function.attrs):
        return False
    if not isinstance(function.body, tvm.s_tir.SBlockRealize):
        return False
    return all(isinstance(n, tvm.tirx.IntImm) for p in function.params for n in getattr(p, "shape", (None,)))


def as_main(function: tvm.tirx.PrimFunc) -> tvm.IRModule:
    """The kernel alone, without the attributes that depend on the model around it."""
    kept = {k: v for k, v in (function.attrs or {}).items() if k in ("tirx.noalias", LAYOUT_FREE)}
    bare = function
    for key in list((function.attrs or {}).keys()):
        if key not in kept:
            bare = bare.without_attr(key)
    return tvm.IRModule({"main": bare.with_attr("global_symbol", "main").with_attr("tirx.noalias", True)})


def workload_digest(function: tvm.tirx.PrimFunc) -> str:
    """SHA-256 over the structure of a kernel: names of variables and buffers make no difference; hex."""
    module = as_main(function)
    sizes = [(str(b.dtype), [int(n) for n in b.shape]) for b in module["main"].params]
    text = f"{tvm_ffi.structural_hash(module):016x} {sizes}"
    return hashlib.sha256(text.encode()).hexdigest()


def operators_of(name: str) -> tuple[str, ...]:
    """The operators that TVM put into the name of a kernel, without their numbers."""
    bare = re.sub(r"^fused_", "", name).replace("tir_", "")
    found = re.findall(rf"(?:^|_)({'|'.join(LONG_NAMES)}|[a-z]+(?:\dd)?)\d*(?=_|$)", bare)
    return tuple(found) or (bare,)


def layout_free(module: tvm.IRModule) -> tuple[int, ...]:
    """Parameters whose order of elements a schedule may choose."""
    attrs = module["main"].attrs
    return tuple(int(i) for i in attrs[LAYOUT_FREE]) if attrs and LAYOUT_FREE in attrs else ()


def _bytes(parameter: Any) -> int:
    return math.prod(int(n) for n in parameter.shape) * (int(tvm.DataType(str(parameter.dtype)).bits) + 7) // 8


def scheduled(schedule: Schedule, name: str) -> tvm.tirx.PrimFunc:
    """The function of a schedule, as part of a model again."""
    return lowered_form(schedule)["main"].with_attr("global_symbol", name).with_attr(SCHEDULED, True)


def lowered_form(schedule: Schedule) -> tvm.IRModule:
    """The scheduled kernel ``main`` as it is compiled, with what a schedule can only ask for."""
    return with_prefetches(narrowed(schedule.mod))


def narrowed(module: tvm.IRModule) -> tvm.IRModule:
    """A kernel with 32-bit loops and indices, if its arrays are small enough.

    TVM narrows them later by itself, but then loses the mark of loops that are to be divided at their last tile.
    """
    buffers = module["main"].params
    if any(b.dtype == "int64" or math.prod(int(n) for n in b.shape) >= NARROW for b in buffers):
        return module
    try:
        return tvm.tirx.transform.ForceNarrowIndexToInt32()(module)
    except tvm.error.InternalError:  # an intermediate array holds 64-bit integers
        return module


def call_counts(module: tvm.IRModule) -> dict[str, int]:
    """How often each kernel is called from the Relax functions."""
    counts: dict[str, int] = {}

    def visit(node: Any) -> None:
        if isinstance(node, tvm.relax.Call) and node.args and isinstance(node.args[0], tvm.ir.GlobalVar):
            name = str(node.args[0].name_hint)
            counts[name] = counts.get(name, 0) + 1

    for _, function in module.functions_items():
        if isinstance(function, tvm.relax.Function):
            tvm.relax.analysis.post_order_visit(function, visit)
    return counts


def _flops(module: tvm.IRModule) -> float:
    try:
        return float(estimate_tir_flops(module))
    except tvm.error.InternalError:  # it knows no loops over data-dependent bounds
        return 0.0
