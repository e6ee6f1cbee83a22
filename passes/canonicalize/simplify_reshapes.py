"""Make one Reshape, or none, of chains of operators that only change the shape.

::

    Reshape(Flatten(x))                      ->  Reshape(x)         any of Reshape, Flatten, Squeeze, Unsqueeze
    Squeeze(Unsqueeze(x))                    ->  x
    Reshape(Transpose(Unsqueeze(x)))         ->  Reshape(x)         if the Transpose moves only axes of size 1
    Expand(Expand(x, s), t)                  ->  Expand(x, broadcast of s and t)

*Refuses*: shapes and axes that are not constant; results with more than one size that is neither known nor the size
of the input's axis at the same place; such results where an empty tensor would be refused; chains of Unsqueeze
alone and of Transpose alone, which say more than a Reshape does (runtimes know attention masks by the former).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.node_pass import NodePass, producer_of, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.passes.canonicalize.shape_chains import Dims, Shape, follow, input_dims, reshape_target

SHAPERS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
CHAIN = SHAPERS | {"Transpose"}
EXPAND = frozenset({"Expand"})
MAX_CHAIN = 16
"""Nodes of a chain that are looked at from its end, so that time stays linear in nodes."""


class Options(PassOptions):
    """Options of ``simplify-reshapes``."""


class SimplifyReshapes(NodePass[Options]):
    """Make one Reshape, or none, of several operators that leave the elements in their order.

    *Match*: chains of at least two of Reshape, Flatten, Squeeze, Unsqueeze, and Transpose between axes of size 1, with
    constant shapes and axes; two Expands in a row. Other nodes may read values inside, which then stay for those.

    *Rewrite*: the longest stretch up to each node whose result one Reshape can name: sizes that are known, sizes that
    the input has at the same place (written 0), and at most one other (written -1). If the input has that shape
    already, the stretch disappears.

    *Shapes*: output shapes do not change, dynamic sizes included.

    *Preserves*: bits, of any element type.

    *References*: the ONNX operator Reshape, for 0, -1 and ``allowzero``.
    """

    name = "simplify-reshapes"
    stage = Stage.CANONICALIZE
    contract = Contract.EXACT
    options_type = Options
    op_types = CHAIN | EXPAND

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        return _simplify_expand(node, build) if node.op_type == "Expand" else _simplify_chain(node, build)


def _simplify_chain(node: ir.Node, build: Builder) -> bool | str:
    chain = [node]
    while len(chain) < MAX_CHAIN and (before := producer_of(chain[-1].inputs[0], chain[-1], CHAIN)) is not None:
        chain.append(before)
    reason: bool | str = False
    for length in range(len(chain), 1, -1):
        stretch = chain[length - 1 :: -1]
        if {n.op_type for n in stretch} <= {"Unsqueeze"} or not any(n.op_type in SHAPERS for n in stretch):
            continue
        source = stretch[0].inputs[0]
        assert source is not None
        given = input_dims(source)
        result, problem = follow(given, stretch, build.opset)
        target = reshape_target(result, node)
        if problem is not None or target is None:
            reason = problem or "a size of the result is not known"
            continue
        replace(node, source if _is_same(given, result) else _reshape(source, target, node, build), build)
        return True
    return reason


def _reshape(source: ir.Value, target: Shape, last: ir.Node, build: Builder) -> ir.Value:
    """A Reshape of ``source``, with the shape of the last node of the chain, if that is it already."""
    shape = last.inputs[1] if last.op_type == "Reshape" else None
    written = constant_array(shape)
    same = written is not None and np.array_equal(written, target)
    return build.op("Reshape", source, shape if same else target)


def _is_same(given: Dims | None, result: Dims | None) -> bool:
    return given is not None and given == result and None not in given


def _simplify_expand(node: ir.Node, build: Builder) -> bool | str:
    before = producer_of(node.inputs[0], node, EXPAND)
    if before is None:
        return False
    first, second = constant_array(before.inputs[1]), constant_array(node.inputs[1])
    if first is None or second is None:
        return "a shape is not constant"
    try:
        shape = np.broadcast_shapes(tuple(first), tuple(second))
    except ValueError:
        return "the shapes do not go together"
    source = before.inputs[0]
    assert source is not None
    replace(node, build.op("Expand", source, np.array(shape, np.int64)), build)
    return True
