"""Loads of weights ahead of their use, and sums that stay in memory. In the compiler process.

The next block of columns comes while this one is computed.

A call reads all weights of a model once, and they rarely fit the caches. While a block of columns is multiplied with
all rows, memory would be idle, and then the core, while it waits for the next block. Processors fetch ahead by
themselves only within what is read at the moment.

Where a tile is summed in blocks, LLVM keeps the sums of the blocks so far in registers, and then those of the block at hand
in memory. A fetch of an array that is in the cache costs nothing, and LLVM may not keep such an array in registers.
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
IN_MEMORY = "tamis.in_memory"
"""Annotation of the loop over blocks whose last statement adds a block's sums to those so far."""
LAYOUT_REWRITE = "meta_schedule.layout_rewrite_preproc"
"""Marks the block that makes the copy, when the library is built or loaded."""
LINE = 64
"""Bytes that are fetched at once."""
FOR_READING, SECOND_LEVEL, DATA = 0, 2, 1
"""Arguments of LLVM's intrinsic."""


def with_prefetches(module: tvm.IRModule) -> tvm.IRModule:
    """The kernel ``main`` with the fetches that annotated loops ask for; nothing else is computed than before."""
    function = module["main"]
    copies = [
        b.writes[0].source for b in nodes_of(function.body, (tvm.s_tir.SBlock,)) if LAYOUT_REWRITE in b.annotations
    ]
    body = tvm_ffi.structural_map(function.body, (tvm.tirx.For, partial(_with_fetches, copies=copies)))
    if body.same_as(function.body):
        return module
    changed = tvm.tirx.PrimFunc(function.params, body, function.ret_type, attrs=function.attrs)
    return tvm.IRModule({"main": changed}, attrs=module.attrs)


def _with_fetches(loop: Any, copies: list[Any]) -> Any:
    if PREFETCH in loop.annotations:
        (realize,) = nodes_of(loop.body, (tvm.s_tir.SBlockRealize,))
        whole = tvm.tirx.BufferRegion(copies[0], [tvm.ir.Range(0, n) for n in copies[0].shape])
        return _with(loop, PREFETCH, whole, _loads_ahead(loop, realize, copies[0]))
    if IN_MEMORY in loop.annotations:
        *_, realize = nodes_of(loop.body, (tvm.s_tir.SBlockRealize,))
        (written,) = realize.block.writes
        first = _first(loop, realize, [r.min for r in written.region])
        place = tvm.tirx.BufferRegion(written.source, [tvm.ir.Range.from_min_extent(i, 1) for i in first])
        return _with(loop, IN_MEMORY, place, [_prefetch(written.source, first)])
    return loop


def _with(loop: Any, annotation: str, region: Any, fetches: list[Any]) -> Any:
    """The loop with fetches of a part of an array in front of its statements, and without the annotation."""
    ahead = tvm.s_tir.SBlock([], [region], [], "prefetch", tvm.tirx.stmt_seq(*fetches))
    body = tvm.tirx.stmt_seq(tvm.s_tir.SBlockRealize([], True, ahead), loop.body)
    rest = {k: v for k, v in loop.annotations.items() if k != annotation}
    return tvm.tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, rest)


def _loads_ahead(loop: Any, realize: Any, weights: Any) -> list[Any]:
    """Fetches of what the step of the loop reads in the next block of columns."""
    (load,) = (n for n in nodes_of(realize.block.body, (tvm.ir.TensorLoad,)) if n.source.same_as(weights))
    block, *place, column = _first(loop, realize, load.indices)
    after = tvm.tirx.min(block + 1, tvm.tirx.const(int(weights.shape[0]) - 1, block.ty.dtype))
    step = LINE * 8 // BITS.get(str(weights.dtype), 32)
    return [_prefetch(weights, (after, *place, column + n)) for n in range(0, int(weights.shape[-1]), step)]


def _first(loop: Any, realize: Any, indices: Any) -> tuple[Any, ...]:
    """Indices in a block, at the beginning of all loops within ``loop``."""
    bound = [(i.var, v) for i, v in zip(realize.block.iter_vars, realize.iter_values, strict=True)]
    begin = [(f.loop_var, tvm.tirx.const(0, f.loop_var.ty.dtype)) for f in nodes_of(loop.body, (tvm.tirx.For,))]
    return tuple(_substituted(_substituted(index, bound), begin) for index in indices)


def _prefetch(weights: Any, indices: tuple[Any, ...]) -> Any:
    address = tvm.tirx.address_of(tvm.tirx.BufferLoad(weights, indices))
    hints = (tvm.tirx.const(n, "int32") for n in (FOR_READING, SECOND_LEVEL, DATA))
    return tvm.tirx.Evaluate(tvm.tirx.call_llvm_intrin("void", "llvm.prefetch", address, *hints))


def _substituted(expression: Any, values: list[tuple[Any, Any]]) -> Any:
    def value(variable: Any) -> Any:
        return next((new for old, new in values if variable.same_as(old)), variable)

    return tvm_ffi.structural_map(expression, (tvm.ir.Var, value))
