"""Which channels a pruned layer still has, counted as in the model that it was pruned from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.passes.pruning.axes.axis import Axis, Indices, Slot
from tamis.passes.pruning.axes.kept import Kept


@dataclass(frozen=True)
class Survivors:
    """Channels of one layer that stay.

    Args:
        inputs: ``(n,)`` input channels of the reference, sorted.
        outputs: ``(n,)`` output channels of the reference, sorted.
    """

    inputs: Indices
    outputs: Indices


def survivors(kept: Kept, nodes: Iterable[ir.Node]) -> dict[str, Survivors]:
    """What is left of each layer.

    Args:
        kept: As ``remove`` gives it.
        nodes: Any nodes of the model, before or after ``remove``; those without a constant weight are passed over.

    Returns:
        Name of the node -> channels of a Conv, ConvTranspose, Gemm, or MatMul with a matrix on the right.
    """
    found = {}
    for node in nodes:
        if node.name and node.op_type in _AXES and len(node.inputs) > 1 and constant_tensor(node.inputs[1]) is not None:
            weight = Slot(node, 1)
            if len(weight.value.shape or ()) == 2 or node.op_type in ("Conv", "ConvTranspose"):
                consumed, produced = _AXES[node.op_type](node, weight, kept)
                found[node.name] = Survivors(kept.positions(consumed), kept.positions(produced))
    return found


def compose(first: Mapping[str, Survivors], then: Mapping[str, Survivors]) -> dict[str, Survivors]:
    """What is left after two removals, one after the other, counted as before the first.

    Args:
        first: Of the first removal.
        then: Of the second one, counted as after the first. Layers that are new in it keep what it says.
    """
    return {
        name: Survivors(first[name].inputs[s.inputs], first[name].outputs[s.outputs]) if name in first else s
        for name, s in then.items()
    }


def _of_conv(node: ir.Node, weight: Slot, kept: Kept) -> tuple[Axis, Axis]:
    x = node.inputs[0]
    assert x is not None
    return Axis(x, 1) if _in_groups(node, weight, kept) else Axis(weight, 1), Axis(weight, 0)


def _of_conv_transpose(node: ir.Node, weight: Slot, kept: Kept) -> tuple[Axis, Axis]:
    return Axis(weight, 0), Axis(node.outputs[0], 1) if _in_groups(node, weight, kept) else Axis(weight, 1)


def _in_groups(node: ir.Node, weight: Slot, kept: Kept) -> bool:
    """Whether axis 1 of the weight need not be all channels; it was once if it has lost some and there is one group."""
    return node.attributes.get_int("group", 1) > 1 or not kept.loses(Axis(weight, 1))


def _of_product(node: ir.Node, weight: Slot, _: Kept) -> tuple[Axis, Axis]:
    transposed = int(bool(node.attributes.get_int("transB", 0)))
    return Axis(weight, transposed), Axis(weight, 1 - transposed)


_AXES = {
    "Conv": _of_conv,
    "ConvTranspose": _of_conv_transpose,
    "Gemm": _of_product,
    "MatMul": _of_product,
}
"""Operator -> the axes of input and output channels."""
