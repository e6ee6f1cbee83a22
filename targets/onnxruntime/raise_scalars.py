"""Give constants of one element the rank of the tensor beside them, where its last axis has size 1.

::

    Mul(x: (1, 172, 309, 1), c: ())   ->  Mul(x, c: (1, 1, 1, 1))

ONNX Runtime computes the first, broadcast, one number at a time: measured 514 us, against 10 us for the second.

*Refuses*: constants of several elements; tensors of unknown rank.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Stage
from tamis.compiler.rewriting.constants import constant_array, set_constant
from tamis.compiler.rewriting.graph_edit import Names, drop_if_unused

OPERATORS = frozenset(["Add", "Div", "Mul", "Sub"])
MIN_OPSET = 7
"""Below, broadcasting is governed by attributes."""


class Options(PassOptions):
    """Options of ``raise-scalars``."""


class RaiseScalars(GraphPass[Options]):
    """Write scalar operands with as many axes as the other operand.

    *Match*: Add, Sub, Mul or Div of a constant of one element and a tensor of higher rank whose last axis has size 1.

    *Rewrite*: the same node with the constant as ``(1, .., 1)``.

    *Preserves*: bits.

    *References*: onnxruntime/core/providers/cpu/math/element_wise_ops.h, version 1.32: ``Broadcaster``.
    """

    name = "raise-scalars"
    stage = Stage.LAYOUT
    contract = Contract.EXACT
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        own = {name for domain, name, _ in model.functions if domain == ""}
        operators = OPERATORS - own if model.graph.opset_imports.get("", 0) >= MIN_OPSET else frozenset[str]()
        names: Names | None = None
        count = 0
        for graph in model.graphs():
            for node in graph:
                if node.op_type not in operators or node.domain != "":
                    continue
                for index, other in ((0, 1), (1, 0)):
                    rank = _rank_to_reach(node, index, other)
                    if rank is not None:
                        names = names or Names(model)
                        _raise(node, index, rank, names)
                        count += 1
        return PassResult(model, modified=count > 0, counts={"constants raised": count} if count else {})


def _rank_to_reach(node: ir.Node, index: int, other: int) -> int | None:
    """The rank that the constant at ``index`` should have; None if it can stay as it is."""
    tensor = node.inputs[other]
    shape = None if tensor is None else tensor.shape
    if shape is None or len(shape) < 2 or shape[-1] != 1:
        return None
    array = constant_array(node.inputs[index])
    return len(shape) if array is not None and array.size == 1 and array.ndim < len(shape) else None


def _raise(node: ir.Node, index: int, rank: int, names: Names) -> None:
    old = node.inputs[index]
    array = constant_array(old)
    assert array is not None
    set_constant(node, index, array.reshape((1,) * rank), names.fresh(f"{node.name or node.op_type}_scalar"))
    drop_if_unused([old])
