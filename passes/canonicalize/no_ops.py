"""Remove nodes that hand their input on unchanged, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.graph_edit import bypass


def remove_no_ops(model: ir.Model) -> int:
    """Remove the no-ops of every graph, function bodies apart.

    A no-op stays where its output is a graph output whose name no other node can take over.

    Returns:
        How many nodes are gone.
    """
    opset = model.graph.opset_imports.get("", 0)
    removed = 0
    for graph in model.graphs():
        for node in graph:
            if node.domain == "" and node.op_identifier() not in model.functions and is_no_op(node, opset):
                value = node.inputs[0]
                assert value is not None
                removed += bypass(node, value)
    return removed


def is_no_op(node: ir.Node, opset: int) -> bool:
    """True if the first output of ``node`` is its first input, bit for bit, and nothing reads the others."""
    test = TESTS.get(node.op_type)
    if test is None or not node.inputs or node.inputs[0] is None:
        return False
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return False
    return test(node, opset)


def _always(node: ir.Node, opset: int) -> bool:
    return True


def _only_input(node: ir.Node, opset: int) -> bool:
    return len(node.inputs) == 1


def _same_shape(node: ir.Node, opset: int) -> bool:
    """Operators that keep the order of the elements: they do nothing if the shape stays."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or result.shape is None:
        return False
    return source.shape.is_static() and source.shape == result.shape


def _same_type(node: ir.Node, opset: int) -> bool:
    source, to = node.inputs[0], node.attributes.get("to")
    return source is not None and source.dtype is not None and to is not None and source.dtype == to.value


def _identity_order(node: ir.Node, opset: int) -> bool:
    perm = node.attributes.get("perm")
    return perm is not None and list(perm.as_ints()) == sorted(perm.as_ints())


def _inference(node: ir.Node, opset: int) -> bool:
    """Dropout without training: by the input from opset 12, always from 7, by an attribute before that."""
    if opset < 12 or len(node.inputs) < 3 or node.inputs[2] is None:
        return opset >= 7
    training = constant_array(node.inputs[2])
    return training is not None and not training.any()


def _no_padding(node: ir.Node, opset: int) -> bool:
    if opset < 11:
        pads = node.attributes.get("pads")
        return pads is not None and not any(pads.as_ints())
    amounts = constant_array(node.inputs[1])
    return amounts is not None and not amounts.any()


def _whole_slice(node: ir.Node, opset: int) -> bool:
    if opset >= 10 and len(node.inputs) > 4 and node.inputs[4] is not None:
        steps = constant_array(node.inputs[4])
        if steps is None or not np.all(steps == 1):
            return False
    return _same_shape(node, opset)


TESTS: dict[str, Callable[[ir.Node, int], bool]] = {
    "Cast": _same_type,
    "Concat": _only_input,
    "Dropout": _inference,
    "Expand": _same_shape,
    "Flatten": _same_shape,
    "Identity": _always,
    "Pad": _no_padding,
    "Reshape": _same_shape,
    "Slice": _whole_slice,
    "Squeeze": _same_shape,
    "Sum": _only_input,
    "Tile": _same_shape,
    "Transpose": _identity_order,
}
