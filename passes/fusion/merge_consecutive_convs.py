"""Merge two linear operators with nothing between them into one, where that takes fewer multiplications.

::

    Conv1x1(Conv3x3(x, W1, b1), W2, b2)  ->  Conv3x3(x, W2 W1, W2 b1 + b2)
    Conv3x3(Conv1x1(x, W1), W2, b2)      ->  Conv3x3(x, W2 W1, b2)             no bias that would leak into the padding
    x @ W1 @ W2                          ->  x @ (W1 W2)

for Conv with groups, strides and dilations, and for MatMul and Gemm.

*Refuses*: pairs whose merged form multiplies no less, or may not, as far as the shapes are known; a bias, or a kernel of
more than one tap, before padding; a value in between that something else reads or that is a graph output; weights
that are not constant, or not float16, float32 or float64; merged weights that are not finite or too small for their
element type; padding that depends on the size of the input; models below opset 9, or that define Conv, Gemm or MatMul.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused, sole_user
from tamis.compiler.rewriting.rewrite_pass import GRAPH_OUTPUT, OTHER_READERS, Builder, remove_unread
from tamis.passes.fusion.linear_nodes import Linear, int_attribute, read_linear
from tamis.passes.fusion.linear_pairs import compose, matrix_product, rounded

MIN_OPSET = 9
PRODUCTS = frozenset({"Gemm", "MatMul"})
OPERATORS = PRODUCTS | {"Conv"}
OPTIONAL_BIAS = 11
"""Opset from which Gemm may have no bias."""


class Options(PassOptions):
    """Options of ``merge-consecutive-convs``."""


class MergeConsecutiveConvs(GraphPass[Options]):
    """Merge a Conv with the Conv before it, a matrix product with the one before it.

    *Match*: Conv after Conv, or MatMul or Gemm after MatMul or Gemm, with constant weights, where only the second
    reads the first.

    *Rewrite*: one Conv, MatMul or Gemm with the composed weights, if it multiplies less than the two. Multiplications
    are counted from the shapes; where these are not known, the second must give no more outputs than the first.

    *Shapes*: kernels compose to ``d (k - 1) = d1 (k1 - 1) + s1 d2 (k2 - 1)``, strides to ``s1 s2``, padding to
    ``p1 + s1 p2``; of groups their greatest common divisor is left.

    *Preserves*: the function up to rounding, for finite ``x``; a first result that overflows no longer does. Weights are
    computed in float64 and rounded once.

    *References*: Ding et al., "Diverse branch block: building a convolution as an inception-like unit", 2021
    (2103.13425), section 3.2, transform III, for a 1x1 before a kxk convolution and what padding does to its bias.
    """

    name = "merge-consecutive-convs"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        where = model.graph.name or "graph"
        if opset < MIN_OPSET:
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        if any(domain == "" and name in OPERATORS for domain, name, _ in model.functions):
            return PassResult(model, modified=False, skips=(Skip("the model defines an operator itself", where),))
        build: Builder | None = None
        skips: dict[Skip, None] = {}
        count = 0
        for graph in model.graphs():
            for node in [n for n in graph if n.domain == "" and n.op_type in OPERATORS]:
                last = node
                while (first := _first(last)) is not None:
                    merged = _merge(first, last)
                    if isinstance(merged, str):
                        skips[Skip(merged, last.name or str(last.outputs[0].name))] = None
                        break
                    build = build or Builder(Names(model), opset)
                    last = _rewrite(first, last, merged, build)
                    count += 1
        return PassResult(model, modified=count > 0, counts={"merged": count} if count else {}, skips=tuple(skips))


def _first(second: ir.Node) -> ir.Node | None:
    """The operator of the same family whose result ``second`` reads as its first input."""
    value = second.inputs[0]
    node = None if value is None else value.producer()
    if node is None or node.domain != "" or node.graph is not second.graph:
        return None
    alike = node.op_type == second.op_type == "Conv" or {node.op_type, second.op_type} <= PRODUCTS
    return node if alike else None


@dataclass(frozen=True)
class Merged:
    """One operator for two.

    Args:
        op_type: Conv, Gemm or MatMul.
        weight, bias: As they are stored.
        attributes: Of the node.
    """

    op_type: str
    weight: np.ndarray[Any, Any]
    bias: np.ndarray[Any, Any]
    attributes: dict[str, Any] = field(default_factory=dict)


def _merge(first: ir.Node, second: ir.Node) -> Merged | str:
    """The operator that both come to, or why they stay two."""
    value = first.outputs[0]
    if sole_user(value) is None:
        return GRAPH_OUTPUT if value.is_graph_output() else OTHER_READERS
    a, b = read_linear(first), read_linear(second)
    if isinstance(a, str):
        return a
    if isinstance(b, str):
        return b
    return _convolution(a, b) if first.op_type == "Conv" else _product(a, b)


def _convolution(first: Linear, second: Linear) -> Merged | str:
    pair = compose(first, second)
    if isinstance(pair, str):
        return pair
    pays = pair.pays()
    if pays is not True:
        return pays or "one convolution multiplies no less than two"
    arrays = rounded(*pair.merged(), first.dtype, axis=0)
    attributes = {"group": pair.groups, **pair.window.attributes()}
    return arrays if isinstance(arrays, str) else Merged("Conv", *arrays, attributes)


def _product(first: Linear, second: Linear) -> Merged | str:
    exact = matrix_product(first, second)
    if isinstance(exact, str):
        return exact
    arrays = rounded(*exact, first.dtype, axis=1)
    if isinstance(arrays, str):
        return arrays
    if first.node.op_type == second.node.op_type == "MatMul":
        return Merged("MatMul", *arrays)
    return Merged("Gemm", *arrays, {"transA": int_attribute(first.node, "transA", 0)})


def _rewrite(first: ir.Node, second: ir.Node, merged: Merged, build: Builder) -> ir.Node:
    """Put ``merged`` in the place of both nodes; returns the new node."""
    constants = [*first.inputs[1:], *second.inputs[1:]]
    build.before(second)
    biased = merged.bias.any() or (merged.op_type == "Gemm" and build.opset < OPTIONAL_BIAS)
    inputs = (first.inputs[0], merged.weight, *([merged.bias] if biased else []))
    value = build.op(merged.op_type, *inputs, like=second.outputs[0], **merged.attributes)
    bypass(second, value)
    remove_unread([first])
    drop_if_unused(dict.fromkeys(constants))
    node = value.producer()
    assert node is not None
    return node
