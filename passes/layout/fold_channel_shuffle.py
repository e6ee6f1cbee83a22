"""Fold channel shuffles into the weights of convolutions.

::

    Reshape [N, g, c/g, H, W] -> Transpose (0,2,1,3,4) -> Reshape [N, c, H, W] -> Conv(W)   ->  Conv(W permuted)
    Conv(W) -> BatchNormalization -> Relu -> shuffle                ->  Conv -> BatchNormalization -> Relu, permuted
    shuffle -> depthwise Conv (stride 2) -> Conv in groups          ->  depthwise Conv -> shuffle -> Conv in groups

A shuffle is a permutation of channels. It commutes with whatever keeps channels apart, and a convolution with one group
takes it into its weights.

*Refuses*: a shuffle between two convolutions in groups, which no permutation inside the groups can stand for: it stays,
behind a depthwise convolution or pool with a smaller result if there is one; unknown sizes; weights that are not
constant; values on the way that are graph outputs or that a node reads which cannot take another order.
"""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_value, set_constant
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused, sole_user
from tamis.compiler.rewriting.rewrite_pass import remove_unread
from tamis.passes.layout.channel_shuffle import Shuffle, read_shuffle
from tamis.passes.layout.channel_steps import Step, backward, data_input, forward
from tamis.passes.layout.permutation import is_transpose

MIN_OPSET = 7
"""Below this, broadcasting is governed by attributes."""
MAX_STEPS = 64
"""How many nodes are looked at for a shuffle in each direction."""


class Options(PassOptions):
    """Options of ``fold-channel-shuffle``."""


class FoldChannelShuffle(GraphPass[Options]):
    """Fold channel shuffles into convolutions, or move them to where the tensor is smaller.

    *Match*: Reshape, Transpose, Reshape that permute the channels of ``(N, C, ...)``, and around them what keeps
    channels apart: activations, BatchNormalization, arithmetic with constants, pools, depthwise convolutions.

    *Rewrite*: behind the shuffle, all paths up to convolutions with one group (or whose groups the order moves as a
    whole) are rewritten without it, with permuted weights, biases and constants. If that is not possible, the one path
    before the shuffle, back to such a convolution. If neither is, the shuffle moves behind the last node that makes the
    tensor smaller, as in the units of a ShuffleNet with stride 2.

    *Shapes*: ``W: (C_out, C_in / groups, *k)``; nothing changes its shape.

    *Preserves*: parameters bit for bit. Convolutions add their channels in another order.

    *References*: Zhang et al., "ShuffleNet: an extremely efficient convolutional neural network for mobile devices",
    2018 (1707.01083), section 3.1.
    """

    name = "fold-channel-shuffle"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        if model.graph.opset_imports.get("", 0) < MIN_OPSET:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        counts: Counter[str] = Counter()
        skips: dict[Skip, None] = {}
        names: Names | None = None
        foreign = {name for domain, name, _ in model.functions if domain == ""}
        for graph in model.graphs():
            for node in graph:
                found = read_shuffle(node) if is_transpose(node) and "Transpose" not in foreign else None
                if isinstance(found, Shuffle):
                    names = names or Names(model)
                    found = _fold(found, names, foreign, counts)
                if isinstance(found, str):
                    skips[Skip(found, node.name or node.outputs[0].name or node.op_type)] = None
        return PassResult(model, modified=bool(counts), counts=dict(counts), skips=tuple(skips))


def _fold(shuffle: Shuffle, names: Names, foreign: set[str], counts: Counter[str]) -> str | None:
    """Fold or move ``shuffle``; returns why it stays."""
    if foreign:
        return "the model defines standard operators itself"
    behind = _behind(shuffle)
    steps = behind if not isinstance(behind, str) else _before(shuffle)
    shapes = [shuffle.nodes[0].inputs[1], shuffle.nodes[2].inputs[1]]
    if not isinstance(steps, str) and bypass(shuffle.nodes[2], shuffle.source):
        remove_unread([shuffle.nodes[1], shuffle.nodes[0]])
        drop_if_unused(shapes)
        _apply(steps, names)
        counts["shuffles folded"] += 1
        return None
    path = _smaller(shuffle)
    if path:
        _move(shuffle, path, names)
        drop_if_unused(shapes)
        counts["shuffles moved"] += 1
        return None
    return behind if isinstance(behind, str) else "a graph output cannot take another name"


def _behind(shuffle: Shuffle) -> list[Step] | str:
    """All nodes that read the result, up to those that take in the order; or why that is not possible."""
    rank = len(shuffle.source.shape or ())
    waiting, steps, seen = [(shuffle.result, shuffle.order)], list[Step](), set[ir.Node]()
    while waiting:
        value, order = waiting.pop()
        if value.is_graph_output():
            return "the channels of a graph output"
        for use in value.uses():
            if use.node.graph is not shuffle.nodes[0].graph or use.node in seen or len(steps) == MAX_STEPS:
                return "read in too many places"
            step = forward(use.node, use.idx, order, rank)
            if isinstance(step, str):
                return step
            seen.add(use.node)
            steps.append(step)
            if step.order is not None:
                waiting.append((use.node.outputs[0], step.order))
    return steps


def _before(shuffle: Shuffle) -> list[Step] | str:
    """The nodes that lead to the shuffle alone, down from one that takes in the order; or why there are none."""
    rank, value, order = len(shuffle.source.shape or ()), shuffle.source, shuffle.order
    steps, reader = list[Step](), shuffle.nodes[0]
    while len(steps) < MAX_STEPS:
        node = value.producer()
        if sole_user(value) is not reader or node is None or node.graph is not reader.graph or value.index():
            return "read in other places"
        step = backward(node, order, rank)
        if isinstance(step, str):
            return step
        steps.append(step)
        if step.order is None:
            return steps
        given = data_input(node)
        assert given is not None
        value, order, reader = given, step.order, node
    return "too far from a convolution"


def _smaller(shuffle: Shuffle) -> list[Step]:
    """The path behind the shuffle up to the last node with a smaller result than any before; empty if there is none."""
    rank, value, reader = len(shuffle.source.shape or ()), shuffle.result, sole_user(shuffle.result)
    steps, best, least = list[Step](), 0, _positions(shuffle.source) or 0
    while reader is not None and reader.graph is shuffle.nodes[0].graph and len(steps) < MAX_STEPS:
        index = next(i for i, v in enumerate(reader.inputs) if v is value)
        step = forward(reader, index, shuffle.order, rank)
        if isinstance(step, str) or step.order is None or not np.array_equal(step.order, shuffle.order):
            break
        steps.append(step)
        value = reader.outputs[0]
        reader, positions = sole_user(value), _positions(value)
        if positions is not None and positions < least:
            best, least = len(steps), positions
    return steps[:best]


def _positions(value: ir.Value) -> int | None:
    """Elements a channel; None if that is not known."""
    sizes = () if value.shape is None else tuple(value.shape)[2:]
    known = [size for size in sizes if isinstance(size, int) and size > 0]
    return prod(known) if sizes and len(known) == len(sizes) else None


def _move(shuffle: Shuffle, path: list[Step], names: Names) -> None:
    """Put the shuffle behind the last node of ``path``."""
    first, transpose, last = shuffle.nodes
    end = path[-1].node
    value, graph = end.outputs[0], end.graph
    assert value.shape is not None and graph is not None and value.name is not None
    shape = [shuffle.order.size, *(int(size) for size in value.shape[2:] if isinstance(size, int))]
    grouped = [-1, shuffle.groups, shape[0] // shuffle.groups, *shape[1:]]
    shuffle.result.replace_all_uses_with(shuffle.source)
    perm = [0, 2, 1, *range(3, len(grouped))]
    made = [
        ir.node("Reshape", [value, _shape(graph, grouped, names.fresh(f"{value.name}_groups"))]),
        ir.node("Transpose", [None], {"perm": perm}),
        ir.node("Reshape", [None, _shape(graph, [-1, *shape], names.fresh(f"{value.name}_channels"))]),
    ]
    made[1].replace_input_with(0, made[0].outputs[0])
    made[2].replace_input_with(0, made[1].outputs[0])
    result = made[2].outputs[0]
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    made[0].replace_input_with(0, value)
    for node, label in zip(made, ("split", "shuffled", "joined"), strict=True):
        node.name = names.fresh(f"{value.name}_{label}")
        node.outputs[0].name, node.outputs[0].type = names.fresh(f"{value.name}_{label}"), value.type
    batch = value.shape[0]
    made[0].outputs[0].shape = ir.Shape([batch, *grouped[1:]])
    made[1].outputs[0].shape = ir.Shape([batch, grouped[2], grouped[1], *grouped[3:]])
    result.shape = value.shape
    result.name, value.name = value.name, names.fresh(f"{value.name}_unshuffled")
    graph.insert_after(end, made)
    remove_unread([last, transpose, first])
    _apply(path, names)


def _shape(graph: ir.Graph, sizes: list[int], name: str) -> ir.Value:
    value = constant_value(name, ir.tensor(np.array(sizes, np.int64), name=name))
    graph.register_initializer(value)
    return value


def _apply(steps: list[Step], names: Names) -> None:
    for step in steps:
        for index, array in step.constants.items():
            old = step.node.inputs[index]
            set_constant(step.node, index, np.ascontiguousarray(array), names.fresh(f"{step.node.name}_shuffled"))
            drop_if_unused([old])
