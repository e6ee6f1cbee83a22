"""Give tensors between convolutions as many channels as ONNX Runtime's blocked layout needs.

::

    Conv(x, W: (22, C, k, k)) -> Relu -> Conv(., V: (D, 22, k, k))
    ->  Conv(x, [W; 0]: (24, C, k, k)) -> Relu -> Conv(., [V, 0]: (D, 24, k, k))

A convolution leaves the blocked layout (NCHWc) if its input channels are no multiple of four, and reads the plain one,
behind a reordering, if they do not fill a block. Filters of zeros and columns of zeros fill them up.

*Refuses*: tensors that are graph inputs or outputs, or that anything else than what is named in *Match* writes or reads;
paddings that would more than double the channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_array, constant_tensor, set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.targets.onnxruntime.blocked_layout import CHANNEL_ALIGNMENT, SMALLEST_BLOCK

FINITE_AT_ZERO = frozenset(
    ["Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Tanh"]
)
"""Activations that make a finite number of zero."""
POOLS = frozenset(["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"])
BINARY = frozenset(["Add", "Mul", "Sub"])
BATCH_NORMALIZATION_FILL = {1: 0.0, 2: 0.0, 3: 0.0, 4: 1.0}
"""Input -> what channels that are added get: scale, bias, mean, variance."""


class Options(PassOptions):
    """Options of ``pad-channels``."""


@dataclass
class Region:
    """Tensors that must have the same channels, and the nodes around them.

    Args:
        channels: Of all of them.
        values: The tensors.
        writers: Convolutions that compute them.
        readers: Convolutions that read them.
        inside: Nodes between them.
        problem: Why they cannot get more channels, and the node in the way.
    """

    channels: int
    values: dict[ir.Value, None] = field(default_factory=dict)
    writers: dict[ir.Node, None] = field(default_factory=dict)
    readers: dict[ir.Node, None] = field(default_factory=dict)
    inside: dict[ir.Node, None] = field(default_factory=dict)
    problem: tuple[str, str] | None = None


class PadChannels(GraphPass[Options]):
    """Add channels of zeros where a convolution would leave the blocked layout.

    *Match*: the input of a Conv (one group, constant weights) whose channels do not fill a block of the machine, or are
    more but no multiple of four; and all tensors tied to it by activations, pools, depthwise Convs, BatchNormalization
    and elementwise sums and products, up to the Convs that write and read them.

    *Rewrite*: zero filters in what writes, zero columns in what reads, neutral numbers in between.

    *Shapes*: ``W: (C_out, C_in, kH, kW)`` grows along its first or second axis.

    *Preserves*: bits of finite results; sums get terms of zero. A tensor that holds an infinity gets NaN.

    *References*: onnxruntime/core/optimizer/nchwc_transformer.cc, version 1.32: what convolutions the layout takes.
    """

    name = "pad-channels"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        block = context.target.machine.channel_multiple if context.target else SMALLEST_BLOCK
        names = Names(model)
        seen: set[ir.Value] = set()
        skips: dict[Skip, None] = {}
        padded = 0
        for graph in model.graphs():
            for node in list(graph):
                value = _read_channels(node)
                if value is None or value in seen:
                    continue
                region = find_region(value)
                seen.update(region.values)
                more = wanted(region.channels, block) - region.channels
                if more == 0:
                    continue
                if region.problem is not None:
                    skips[Skip(*region.problem)] = None
                    continue
                _pad(region, more, names)
                padded += len(region.values)
        return PassResult(model, modified=padded > 0, counts={"tensors padded": padded}, skips=tuple(skips))


def wanted(channels: int, block: int) -> int:
    """The number of channels that keeps a tensor in the blocked layout, or ``channels`` if none does at a fair price."""
    if channels < block:
        return block if 2 * channels >= block else channels
    return -(-channels // CHANNEL_ALIGNMENT) * CHANNEL_ALIGNMENT


def find_region(start: ir.Value) -> Region:
    """All tensors that must have as many channels as ``start: (N, C, H, W)``."""
    assert start.shape is not None
    channels = start.shape[1]
    assert isinstance(channels, int)
    region = Region(channels)
    queue = [start]
    while queue and region.problem is None:
        value = queue.pop()
        if value in region.values:
            continue
        region.values[value] = None
        producer = value.producer()
        if producer is None or value.is_graph_output():
            region.problem = ("the tensor is an input or output of the graph", str(value.name))
        elif value.shape is None or len(value.shape) != 4 or value.shape[1] != channels:
            region.problem = ("not four dimensions with a known number of channels", str(value.name))
        else:
            queue.extend(_write(region, producer, value))
            for node, index in value.uses():
                queue.extend(_read(region, node, index))
    return region


def _write(region: Region, node: ir.Node, value: ir.Value) -> Iterator[ir.Value]:
    """Note the node that computes ``value``; gives what else must have the same channels."""
    if value is not node.outputs[0]:
        region.problem = ("a second output", node.name or node.op_type)
    elif _is_conv(node) and not _is_depthwise(node):
        region.writers[node] = None
    else:
        yield from _pass_on(region, node)


def _read(region: Region, node: ir.Node, index: int) -> Iterator[ir.Value]:
    """Note a node that reads a tensor; gives what else must have the same channels."""
    if _is_conv(node) and not _is_depthwise(node) and index == 0:
        region.readers[node] = None
    else:
        yield from _pass_on(region, node)
        yield node.outputs[0]


def _pass_on(region: Region, node: ir.Node) -> Iterator[ir.Value]:
    """Note a node that keeps the channels; gives its inputs that have them."""
    if node in region.inside:
        return
    data = _channel_inputs(node, region.channels)
    if data is None:
        region.problem = (f"{node.op_type} is in the way", node.name or node.op_type)
        return
    region.inside[node] = None
    yield from data


def _channel_inputs(node: ir.Node, channels: int) -> list[ir.Value] | None:
    """Inputs that have the channels of the output; None if the node does not keep them."""
    first = node.inputs[0]
    if node.domain != "" or first is None or any(v.name and v.uses() for v in node.outputs[1:]):
        return None
    if node.op_type in FINITE_AT_ZERO or node.op_type in POOLS or (_is_conv(node) and _is_depthwise(node)):
        return [first]
    if node.op_type == "BatchNormalization":
        return [first] if all(constant_tensor(v) is not None for v in node.inputs[1:5]) else None
    if node.op_type in BINARY:
        operands = [v for v in node.inputs if v is not None and constant_tensor(v) is None]
        fits = all(_grows(v, channels) or v in operands for v in node.inputs if v is not None)
        return operands if operands and fits else None
    return None


def _grows(constant: ir.Value, channels: int) -> bool:
    """Whether a constant operand is one number, or one a channel: ``(C, 1, 1)``, ``(1, C, 1, 1)``."""
    tensor = constant_tensor(constant)
    if tensor is None or len(tensor.shape) > 4:
        return False
    return tensor.size == 1 or tensor.shape.numpy() in ((channels, 1, 1), (1, channels, 1, 1))


def _is_conv(node: ir.Node) -> bool:
    weight = constant_tensor(node.inputs[1]) if node.op_type == "Conv" and len(node.inputs) > 1 else None
    bias_fits = len(node.inputs) < 3 or node.inputs[2] is None or constant_tensor(node.inputs[2]) is not None
    grouped = weight is not None and (node.attributes.get_int("group", 1) == 1 or _is_depthwise(node))
    plain = weight is not None and len(weight.shape) == 4 and weight.dtype == ir.DataType.FLOAT
    return node.domain == "" and grouped and plain and bias_fits


def _is_depthwise(node: ir.Node) -> bool:
    weight = constant_tensor(node.inputs[1])
    assert weight is not None
    outputs, inputs = weight.shape.numpy()[:2]
    return outputs > 1 and inputs == 1 and node.attributes.get_int("group", 1) == outputs


def _read_channels(node: ir.Node) -> ir.Value | None:
    """The input of a Conv of one group, if its channels are known."""
    value = node.inputs[0] if node.inputs else None
    if value is None or not _is_conv(node) or _is_depthwise(node):
        return None
    known = value.shape is not None and len(value.shape) == 4 and isinstance(value.shape[1], int)
    return value if known else None


def _pad(region: Region, more: int, names: Names) -> None:
    for node in region.writers:
        _extend(node, 1, 0, more, 0.0, names)
        _extend(node, 2, 0, more, 0.0, names)
    for node in region.readers:
        _extend(node, 1, 1, more, 0.0, names)
    for node in region.inside:
        _pad_inside(node, region, more, names)
    for value in region.values:
        assert value.shape is not None
        value.shape = ir.Shape([region.channels + more if i == 1 else size for i, size in enumerate(value.shape)])


def _pad_inside(node: ir.Node, region: Region, more: int, names: Names) -> None:
    if node.op_type == "Conv":
        _extend(node, 1, 0, more, 0.0, names)
        _extend(node, 2, 0, more, 0.0, names)
        node.attributes["group"] = ir.AttrInt64("group", region.channels + more)
    elif node.op_type == "BatchNormalization":
        for index, fill in BATCH_NORMALIZATION_FILL.items():
            _extend(node, index, 0, more, fill, names)
    elif node.op_type in BINARY:
        for index, value in enumerate(node.inputs):
            tensor = constant_tensor(value)
            if tensor is not None and tensor.size != 1:
                _extend(node, index, len(tensor.shape) - 3, more, 0.0, names)


def _extend(node: ir.Node, index: int, axis: int, more: int, fill: float, names: Names) -> None:
    """Append ``more`` entries of ``fill`` to a constant input, if it is there."""
    array: np.ndarray[Any, Any] | None = constant_array(node.inputs[index]) if index < len(node.inputs) else None
    if array is None:
        return
    pads = [(0, more if i == axis else 0) for i in range(array.ndim)]
    padded = np.pad(array, pads, constant_values=fill)
    set_constant(node, index, padded, names.fresh(f"{node.name or node.op_type}_padded"))
