"""Let a convolution with few filters compute neighbouring positions as filters of their own.

::

    Conv<strides = s>(x, W: (1, C, 5, 5)) -> Sigmoid
    ->  Conv<strides = 4 s>(x, W': (16, C, 8, 8)) -> Sigmoid -> positions put in order again

for 4 by 4 positions. ONNX Runtime computes filters in blocks of 8 or 16: with one filter, all but one of a block are
wasted, and a single block is slower than several. The filters of ``W'`` are ``W``, shifted, with zeros around it.

*Refuses*: one input channel: such a filter over a raw signal cancels most of it, so that another order of summation shows
in what is left (measured on basic-pitch, whose eight low-pass filters alone moved its outputs by up to 1.5e-4, beyond the
limit, while the convolutions of 8 and 32 channels moved them by 4e-7); groups, dilations, weights that are not constant or not finite, element types other than float32, padding
that depends on the size, unknown sizes; where the zeros would cost more than is gained.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused, sole_user
from tamis.compiler.rewriting.rewrite_pass import Builder, remove_unread
from tamis.targets.onnxruntime.blocked_layout import SMALLEST_BLOCK, convolves_in_blocks
from tamis.targets.onnxruntime.narrow_convs import Pair, Window, choose, unroll_weight

ACTIVATIONS = frozenset(["Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"])
MIN_OPSET = 10
"""Below, the bounds of a Slice are attributes."""
PARAMETERS = range(1, 5)
"""Inputs of a BatchNormalization that have one number a channel."""


class Options(PassOptions):
    """Options of ``unroll-narrow-convs``."""


class UnrollNarrowConvs(GraphPass[Options]):
    """Make filters of neighbouring positions where a convolution has so few filters that they do not fill blocks.

    *Match*: a Conv over two axes with constant weights, one group and few filters, and the activations and
    BatchNormalizations that alone read its output.

    *Rewrite*: ``u = u_h u_w`` shifted copies of each filter, strides ``u`` times as long, then two Transposes that put
    the positions in order again behind the activations. ``u`` is where the estimated time is least: zeros, unused parts
    of blocks and the Transposes counted.

    *Shapes*: ``W: (O, I, kH, kW) -> (u O, I, kH + (u_h - 1) s_h, kW + (u_w - 1) s_w)``; outputs keep theirs.

    *Preserves*: the function up to rounding; sums get terms of zero. Rounding is larger where a sum cancels, whatever
    the number of channels: the refusal of one channel makes that rare, not impossible. An infinity or NaN in the input reaches the
    positions that are computed together with its own.

    *References*: the blocks are those of onnxruntime/core/mlas/lib/snchwc.cpp.
    """

    name = "unroll-narrow-convs"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        block = context.target.machine.channel_multiple if context.target else SMALLEST_BLOCK
        own = {name for domain, name, _ in model.functions if domain == ""}
        skips: dict[Skip, None] = {}
        build: Builder | None = None
        count = 0
        for graph in model.graphs():
            for node in list(graph):
                if node.op_type in own or not _is_narrow(node, block):
                    continue
                window = read_window(node)
                if isinstance(window, str):
                    skips[Skip(window, node.name or node.outputs[0].name or node.op_type)] = None
                elif (by := choose(window, block)) is not None:
                    build = build or Builder(Names(model), opset)
                    _unroll(node, window, by, build, own)
                    count += 1
        return PassResult(model, modified=count > 0, counts={"unrolled": count} if count else {}, skips=tuple(skips))


def read_window(conv: ir.Node) -> Window | str:
    """What a Conv with a constant weight computes where, or why it is left alone."""
    weight, x, attributes = constant_array(conv.inputs[1]), conv.inputs[0], conv.attributes
    if weight is None or x is None or not convolves_in_blocks(conv):
        return "not in the blocked layout"
    if weight.shape[1] == 1:
        return "one channel, so that the order of summation may show"
    if not np.isfinite(weight).all():
        return "the weight is not finite"
    if len(conv.inputs) > 2 and conv.inputs[2] is not None and constant_tensor(conv.inputs[2]) is None:
        return "the bias is not constant"
    if attributes.get_int("group", 1) != 1 or any(d != 1 for d in attributes.get_ints("dilations") or ()):
        return "groups or dilations"
    auto_pad = attributes.get_string("auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "VALID"):
        return "the padding depends on the size"
    size = _sizes(x)
    if size is None:
        return "the size of the input is not known"
    pads = (attributes.get_ints("pads") if auto_pad == "NOTSET" else None) or (0, 0, 0, 0)
    strides = attributes.get_ints("strides") or (1, 1)
    outputs, inputs, height, width = weight.shape
    window = Window(
        outputs, inputs, size, (height, width), (strides[0], strides[1]), (pads[0], pads[1]), (pads[2], pads[3])
    )
    return window if min(window.positions) > 0 else "no output"


def _is_narrow(conv: ir.Node, block: int) -> bool:
    """Whether ``conv`` is a Conv whose filters fill at most one block, as far as is known without reading them."""
    if conv.op_type != "Conv" or conv.domain != "":
        return False
    weight = constant_tensor(conv.inputs[1]) if len(conv.inputs) > 1 else None
    return weight is not None and len(weight.shape) == 4 and 0 < weight.shape.numpy()[0] <= block


def _sizes(x: ir.Value) -> Pair | None:
    if x.shape is None or len(x.shape) != 4:
        return None
    height, width = x.shape[2], x.shape[3]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _unroll(conv: ir.Node, window: Window, by: Pair, build: Builder, own: set[str]) -> None:
    """Replace ``conv`` and what follows it."""
    biases = constant_array(conv.inputs[2]) if len(conv.inputs) > 2 else None
    weight = constant_array(conv.inputs[1])
    assert weight is not None
    followers = _followers(conv, own)
    last = followers[-1] if followers else conv
    copies, grown = by[0] * by[1], window.unrolled(by)
    build.before(last)
    value = build.op(
        "Conv",
        conv.inputs[0],
        unroll_weight(weight, window, by),
        *([] if biases is None else [np.tile(biases, copies)]),
        kernel_shape=grown.kernel,
        strides=grown.strides,
        pads=(*grown.begin, *grown.end),
    )
    _describe(value, conv.outputs[0], grown.filters, grown.positions)
    for node in followers:
        value = _repeat(node, value, copies, build)
    value = _in_order(value, window, by, build)
    _describe(value, last.outputs[0], window.filters, window.positions)
    replaced = [*reversed(followers), conv]
    constants = [v for node in replaced for v in node.inputs[1:]]
    assert bypass(last, value)  # a node of this graph computes the value, and nothing else knows it
    remove_unread(replaced[1:])
    drop_if_unused(dict.fromkeys(constants))


def _followers(conv: ir.Node, own: set[str]) -> list[ir.Node]:
    """Nodes that act on each number, or each channel, alone; not those that the model defines itself."""
    found: list[ir.Node] = []
    value = conv.outputs[0]
    while (node := sole_user(value)) is not None and node.graph is conv.graph and node.domain == "":
        constants = all(constant_tensor(v) is not None for v in node.inputs[1:] if v is not None)
        if node.inputs[0] is not value or not constants or node.op_type in own:
            break
        if node.op_type not in ACTIVATIONS and (node.op_type != "BatchNormalization" or _is_training(node)):
            break
        found.append(node)
        value = node.outputs[0]
    return found


def _is_training(norm: ir.Node) -> bool:
    return len(norm.outputs) > 1 or norm.attributes.get_int("training_mode", 0) == 1


def _repeat(node: ir.Node, value: ir.Value, copies: int, build: Builder) -> ir.Value:
    """``node``, reading ``value``, which has ``copies`` times the channels."""
    inputs: list[ir.Value | np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None] = [value, *node.inputs[1:]]
    if node.op_type == "BatchNormalization":
        for i in PARAMETERS:
            array = constant_array(node.inputs[i])
            assert array is not None
            inputs[i] = np.tile(array, copies)
    return build.op(node.op_type, *inputs, like=value, **{name: a.value for name, a in node.attributes.items()})


def _in_order(value: ir.Value, window: Window, by: Pair, build: Builder) -> ir.Value:
    """``(N, u_h u_w O, H', W') -> (N, O, H, W)``; one axis at a time, which is many times faster than both at once."""
    (height, width), (high, wide), filters = window.positions, window.unrolled(by).positions, window.filters
    if by[1] > 1:
        value = build.op("Reshape", value, np.array([-1, by[1], filters * high * wide]))
        value = build.op("Transpose", value, perm=(0, 2, 1))
    if by[0] > 1:
        value = build.op("Reshape", value, np.array([-1, by[0], filters * high, wide * by[1]]))
        value = build.op("Transpose", value, perm=(0, 2, 1, 3))
    value = build.op("Reshape", value, np.array([-1, filters, high * by[0], wide * by[1]]))
    if (high * by[0], wide * by[1]) == (height, width):
        return value
    return build.op("Slice", value, np.array([0, 0]), np.array([height, width]), np.array([2, 3]))


def _describe(value: ir.Value, like: ir.Value, channels: int, size: Pair) -> None:
    batch = None if like.shape is None else like.shape[0]
    value.shape, value.type = ir.Shape([batch, channels, *size]), ir.TensorType(ir.DataType.FLOAT)
