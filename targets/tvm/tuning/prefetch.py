"""Loads of weights ahead of their use: the next block of columns comes while this one is computed. In the compiler process.

A call reads all weights of a model once, and they rarely fit the caches. While a block of columns is multiplied with
all rows, memory would be idle, and then the core, while it waits for the next block. Processors fetch ahead by
themselves only within what is read at the moment.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
import tvm_ffi

from tamis.targets.tvm.tuning.block_facts import nodes_of
from tamis.targets.tvm.tuning.vector_unit import BITS

PREFETCH = "tamis.prefetch"
"""Annotation of the innermost loop of a sum over weights that are copied once: by blocks of columns, which the first
dimension of the copy numbers, while the last one has the columns of a block."""
LAYOUT_REWRITE = "meta_schedule.layout_rewrite_preproc"
"""Marks the block that makes the copy, when the library is built or loaded."""
LINE = 64
"""Bytes that are fetched at once."""
FOR_READING, SECOND_LEVEL, DATA = 0, 2, 1
"""Arguments of LLVM's intrinsic."""


def with_prefetches(module: tvm.IRModule) -> tvm.IRModule:
    """The kernel ``main`` with the loads that annotated loops ask for; nothing else is computed than before."""
    function = module["main"]
    copies = [
        b.writes[0].source for b in nodes_of(function.body, (tvm.s_tir.SBlock,)) if LAYOUT_REWRITE in b.annotations
    ]
    if not copies:
        return module
    body = tvm_ffi.structural_map(function.body, (tvm.tirx.For, partial(_with_loads, weights=copies[0])))
    if body.same_as(function.body):
        return module
    changed = tvm.tirx.PrimFunc(function.params, body, function.ret_type, attrs=function.attrs)
    return tvm.IRModule({"main": changed}, attrs=module.attrs)


def _with_loads(loop: Any, weights: Any) -> Any:
    if PREFETCH not in loop.annotations:
        return loop
    (realize,) = nodes_of(loop.body, (tvm.s_tir.SBlockRealize,))
    (load,) = (n for n in nodes_of(realize.block.body, (tvm.ir.TensorLoad,)) if n.source.same_as(weights))
    bound = [(i.var, v) for i, v in zip(realize.block.iter_vars, realize.iter_values, strict=True)]
    first = [(f.loop_var, tvm.tirx.const(0, f.loop_var.ty.dtype)) for f in nodes_of(loop.body, (tvm.tirx.For,))]
    block, *place, column = (_substituted(_substituted(index, bound), first) for index in load.indices)
    after = tvm.tirx.min(block + 1, tvm.tirx.const(int(weights.shape[0]) - 1, block.ty.dtype))
    step = LINE * 8 // BITS.get(str(weights.dtype), 32)
    loads = [_prefetch(weights, (after, *place, column + n)) for n in range(0, int(weights.shape[-1]), step)]
    region = tvm.tirx.BufferRegion(weights, [tvm.ir.Range(0, n) for n in weights.shape])
    ahead = tvm.s_tir.SBlock([], [region], [], "prefetch", tvm.tirx.stmt_seq(*loads))
    body = tvm.tirx.stmt_seq(tvm.s_tir.SBlockRealize([], True, ahead), loop.body)
    rest = {k: v for k, v in loop.annotations.items() if k != PREFETCH}
    return tvm.tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, rest)


def _prefetch(weights: Any, indices: tuple[Any, ...]) -> Any:
    address = tvm.tirx.address_of(tvm.tirx.BufferLoad(weights, indices))
    hints = (tvm.tirx.const(n, "int32") for n in (FOR_READING, SECOND_LEVEL, DATA))
    return tvm.tirx.Evaluate(tvm.tirx.call_llvm_intrin("void", "llvm.prefetch", address, *hints))


def _substituted(expression: Any, values: list[tuple[Any, Any]]) -> Any:
    def value(variable: Any) -> Any:
        return next((new for old, new in values if variable.same_as(old)), variable)

    return tvm_ffi.structural_map(expression, (tvm.ir.Var, value))
