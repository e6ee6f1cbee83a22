"""Make one Attention, ONNX Runtime's own operator, of self-attention that is spelled out.

::

    q, k, v = x Wq + bq, x Wk + bk, x Wv + bv, each cut into heads
    softmax(q k^T / sqrt(d) + mask) v, heads joined   ->  Attention(x, [Wq Wk Wv], [bq bk bv], mask)

*Refuses*: query, key and value of different tensors (cross-attention) or different numbers and sizes of heads; weights
that are not constant; masks that are not added (Where), or would have to be copied to an unknown length; scores with a
factor behind the mask; probabilities or projections that something else reads; element types other than float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names, drop_if_unused, sole_user
from tamis.compiler.rewriting.node_pass import producer_of, replace
from tamis.compiler.rewriting.rewrite_pass import GRAPH_OUTPUT, OTHER_READERS, Builder
from tamis.targets.onnxruntime.attention_heads import Chain, Heads, int_attribute, known_equal, perm_of, read_heads

DOMAIN = "com.microsoft"
MIN_OPSET = 8
"""From which Expand, which copies masks, is known."""


UNUSUAL = "a factor is so large or small that the range of numbers changes"


class Options(PassOptions):
    """Options of ``fuse-attention``."""


@dataclass(frozen=True)
class Found:
    """A self-attention that can be fused.

    Args:
        query, key, value: The three projections.
        scale: Of the scores, beside the factors of query and key.
        mask: What is added to the scores; None if nothing is.
        mask_shape: What shape the operator needs it in; None if it has that already.
        root: The last node.
    """

    query: Heads
    key: Heads
    value: Heads
    scale: float
    mask: ir.Value | None
    mask_shape: tuple[int, ...] | None
    root: ir.Node


@dataclass(frozen=True)
class Scores:
    """What a Softmax reads: ``scale * query key + mask``, by the node of the product and those up to the Softmax."""

    product: ir.Node
    scale: float
    mask: ir.Value | None
    nodes: tuple[ir.Node, ...]


class FuseAttention(GraphPass[Options]):
    """Make one Attention of a self-attention that is spelled out.

    *Match*: a Softmax over the last dimension of ``q k^T``, scaled anywhere, with an added mask or without, whose product
    with v is joined to ``(B, S, H * d)``; q, k and v are three projections of one tensor, or parts of one projection.

    *Rewrite*: one ``com.microsoft.Attention``, which projects into the order of the heads without a Transpose and adds
    the mask inside the product. A mask that is broadcast over rows is expanded once for all layers.

    *Preserves*: the function up to rounding. Rows that are masked altogether, by large numbers or by infinity, stay what
    they are.

    *Shapes*: x ``(B, S, D)``; weights ``(D, 3 * H * d)``; mask ``(1 or B, 1 or H, S, S)``; result ``(B, S, H * d)``.

    *References*: Vaswani et al., "Attention is all you need", 2017 (1706.03762), equation 1.
    onnxruntime/contrib_ops/cpu/bert/attention.cc.
    """

    name = "fuse-attention"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        taken = {(domain, name) for domain, name, _ in model.functions}
        if opset < MIN_OPSET or (DOMAIN, "Attention") in taken or ("", "Softmax") in taken:
            return PassResult(model, modified=False)
        build: Builder | None = None
        skips: list[Skip] = []
        expanded: dict[tuple[ir.Value, tuple[int, ...]], ir.Value] = {}
        count = 0
        for graph in model.graphs():
            expanded.clear()
            for softmax in graph:
                if softmax.op_type != "Softmax" or softmax.domain != "":
                    continue
                found = _find(softmax, opset)
                if isinstance(found, str):
                    skips.append(Skip(found, softmax.name or str(softmax.outputs[0].name)))
                elif found is not None:
                    build = build or Builder(Names(model), opset)
                    _fuse(found, build, expanded)
                    count += 1
        if build is not None:
            drop_if_unused(build.loose)
            model.graph.opset_imports.setdefault(DOMAIN, 1)
        return PassResult(model, modified=count > 0, counts={"fused": count} if count else {}, skips=tuple(skips))


def _find(softmax: ir.Node, opset: int) -> Found | str | None:
    """The attention around a Softmax; None if it is another Softmax, or why it must be left alone."""
    shape = softmax.outputs[0].shape
    scores = _scores(softmax)
    mixed = sole_user(softmax.outputs[0])
    if scores is None or mixed is None or mixed.op_type != "MatMul" or mixed.inputs[0] is not softmax.outputs[0]:
        return None
    if shape is None or len(shape) != 4:
        return "not four dimensions"
    if not _usual(scores.scale):
        return UNUSUAL
    if int_attribute(softmax, "axis", -1 if opset >= 13 else 1) not in (3, -1):
        return "the Softmax is not over the last dimension"
    root = _joined(mixed)
    if root is None:
        return "the heads are not joined as usual"
    heads = _three_heads(scores.product, mixed)
    if isinstance(heads, str):
        return heads
    query, key, value = heads
    if not _joins(root, query):
        return "the heads are not joined as usual"
    transpose = producer_of(root.inputs[0], root, frozenset({"Transpose"}))
    assert transpose is not None
    inside = {softmax, mixed, transpose, *scores.nodes, *query.nodes, *key.nodes, *value.nodes}
    mask_shape = None if scores.mask is None else _mask_shape(scores.mask, shape)
    if isinstance(mask_shape, str):
        return mask_shape
    return _read_outside(inside, root) or Found(query, key, value, scores.scale, scores.mask, mask_shape, root)


def _scores(softmax: ir.Node) -> Scores | None:
    """What the Softmax reads, if it is a product of two tensors, scaled or not, perhaps with something added."""
    value = softmax.inputs[0]
    if value is None:
        return None
    add = producer_of(value, softmax, frozenset({"Add"}))
    choices = [(value, softmax, None)] if add is None else [(add.inputs[i], add, add.inputs[1 - i]) for i in (0, 1)]
    for scaled, reader, mask in choices:
        if scaled is None:
            continue
        chain = Chain(scaled, reader)
        chain.scale()
        product = chain.step("MatMul")
        if product is not None:
            nodes = (*chain.nodes, *([] if add is None else [add]))
            return Scores(product, chain.factor, mask, nodes)
    return None


def _three_heads(product: ir.Node, mixed: ir.Node) -> tuple[Heads, Heads, Heads] | str:
    """Query, key and value, or why they are not what the operator can project itself."""
    found: list[Heads] = []
    for node, index in ((product, 0), (product, 1), (mixed, 1)):
        operand = node.inputs[index]
        assert operand is not None
        heads = read_heads(operand, node)
        if isinstance(heads, str):
            return heads
        if not _usual(heads.factor) or not np.isfinite(np.abs(heads.weight).max(initial=0) * heads.factor):
            return UNUSUAL
        found.append(heads)
    query, key, value = found
    if not query.source is key.source is value.source:
        return "query, key and value are not made of one tensor"
    if len({(h.count, h.size) for h in found}) > 1:
        return "different numbers or sizes of heads"
    if query.turned or value.turned or not key.turned:
        return "the product is not that of queries and keys"
    return query, key, value


def _usual(factor: float) -> bool:
    """Whether a factor is far from where it, or what it scales, leaves the range of float32; 0 would mean the default."""
    return 1e-6 <= abs(factor) <= 1e6


def _joined(mixed: ir.Node) -> ir.Node | None:
    """The Reshape behind the Transpose that brings the heads of each row together."""
    transpose = sole_user(mixed.outputs[0])
    if transpose is None or transpose.op_type != "Transpose" or perm_of(transpose) != [0, 2, 1, 3]:
        return None
    reshape = sole_user(transpose.outputs[0])
    return reshape if reshape is not None and reshape.op_type == "Reshape" and reshape.domain == "" else None


def _joins(root: ir.Node, heads: Heads) -> bool:
    shape, rows = root.outputs[0].shape, heads.source.shape
    if shape is None or rows is None or len(shape) != 3:
        return False
    return known_equal(shape[0], rows[0]) and known_equal(shape[1], rows[1]) and shape[2] == heads.count * heads.size


def _mask_shape(mask: ir.Value, scores: ir.Shape) -> tuple[int, ...] | str | None:
    """The shape to which a mask must be expanded, ``(1 or B, 1 or H, S, S)``; None if it has it, or why it cannot be."""
    if mask.shape is None or len(mask.shape) > 4:
        return "the mask has an unknown shape"
    given = [*([1] * (4 - len(mask.shape))), *mask.shape]
    if any(g != 1 and not known_equal(g, s) for g, s in zip(given, scores, strict=True)):
        return "the mask does not fit the scores"
    first = [g if g == 1 else s for g, s in zip(given[:2], scores, strict=False)]
    if first[0] != 1:  # older versions of the operator step over all heads from one sample to the next
        first[1] = scores[1]
    wanted = [*first, *scores[2:]]
    if len(mask.shape) == 4 and wanted == given:
        return None
    sizes = tuple(size for size in wanted if isinstance(size, int))
    return sizes if len(sizes) == 4 else "the mask would have to be copied to an unknown length"


def _read_outside(inside: set[ir.Node], root: ir.Node) -> str | None:
    """Why the nodes inside cannot go."""
    for node in inside:
        for value in node.outputs:
            if value.is_graph_output():
                return GRAPH_OUTPUT
            if any(use.node not in inside and use.node is not root for use in value.uses()):
                return OTHER_READERS
    return None


def _fuse(found: Found, build: Builder, expanded: dict[tuple[ir.Value, tuple[int, ...]], ir.Value]) -> None:
    build.before(found.root)
    parts = (found.query, found.key, found.value)
    weights = [h.weight if h.factor == 1 else h.weight * np.float32(h.factor) for h in parts]
    biases = [
        np.zeros(h.count * h.size, np.float32) if h.bias is None else h.bias * np.float32(h.factor) for h in parts
    ]
    inputs: list[ir.Value | np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None] = [
        found.query.source,
        np.concatenate(weights, axis=1),
        np.concatenate(biases),
    ]
    if found.mask is not None:
        inputs += [None, None, _expanded(found.mask, found.mask_shape, build, expanded)]
    value = build.op(
        "Attention",
        *inputs,
        like=found.root.outputs[0],
        domain=DOMAIN,
        num_heads=found.query.count,
        scale=found.scale,
    )
    replace(found.root, value, build)


def _expanded(
    mask: ir.Value,
    shape: tuple[int, ...] | None,
    build: Builder,
    known: dict[tuple[ir.Value, tuple[int, ...]], ir.Value],
) -> ir.Value:
    """The mask in ``shape``, made once for all layers that read it in this graph."""
    if shape is None:
        return mask
    if (mask, shape) not in known:
        value = build.op("Expand", mask, np.array(shape, np.int64))
        value.shape, value.type = ir.Shape(shape), mask.type
        known[mask, shape] = value
    return known[mask, shape]
