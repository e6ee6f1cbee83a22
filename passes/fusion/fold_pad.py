"""Fold a constant border into the padding of the convolutions and pools that read it.

::

    Conv<pads = q>(Pad<p>(x))                   ->  Conv<pads = p + q>(x)
    AveragePool<>(Pad<p>(x))                    ->  AveragePool<pads = p, count_include_pad = 1>(x)
    MaxPool<pads = q>(Pad<p>(x))                ->  MaxPool<pads = p + q>(x)          x >= 0, or a border of -infinity

*Refuses*: borders that are not 0, before MaxPool also those that may exceed what is in a window; borders of the batch or
the channels; negative or unknown amounts; modes other than constant; padded tensors that are graph outputs or that
anything else reads; pools with ``ceil_mode``, padding that fills a window, or padding of their own that AveragePool does
not count; MaxPool with dilation or indices; padding that depends on the size of the input; borders of more than a
third of an axis, since kernels are slow there (CREPE, 508 around 1024: folding them cost a tenth of its speed); models
below opset 2.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import drop_if_unused
from tamis.compiler.rewriting.rewrite_pass import GRAPH_OUTPUT
from tamis.passes.fusion.pad_nodes import Padding, read_pad
from tamis.passes.fusion.padded_readers import OPERATORS, absorb, spatial_rank

MIN_OPSET = 2
WIDE = 1 / 3
"""Of an axis: borders beyond this stay."""
OTHER_READER = "something else than a convolution or a pool reads the padded tensor"


class Options(PassOptions):
    """Options of ``fold-pad``."""


class FoldPad(GraphPass[Options]):
    """Fold Pad into the Conv, AveragePool and MaxPool nodes that read it.

    *Match*: a constant Pad of spatial axes that nothing but such nodes reads.

    *Rewrite*: their own padding grows by that of the Pad, which goes. AveragePool counts its padding from then on.

    *Preserves*: the function up to rounding; a convolution with padding may sum in another order. MaxPool leaves its
    padding out, which is right where every window holds an element that is no smaller than the border: where x is the
    result of Relu, Sigmoid, HardSigmoid, Softplus, Exp, Abs, Softmax or a Clip at 0 or above, or the border is -infinity.

    *References*: ONNX operator specification, Pad, Conv, AveragePool and MaxPool.
    """

    name = "fold-pad"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        where = model.graph.name or "graph"
        if opset < MIN_OPSET:
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        if any(domain == "" and name in {"Pad", *OPERATORS} for domain, name, _ in model.functions):
            return PassResult(model, modified=False, skips=(Skip("the model defines an operator itself", where),))
        skips: list[Skip] = []
        count = 0
        for graph in model.graphs():
            for node in reversed(graph):  # a Pad that goes leaves its readers to the Pad before it
                if node.op_type != "Pad" or node.domain != "" or not _readers(node):
                    continue
                reason = _fold(node, opset)
                if reason is None:
                    count += 1
                else:
                    skips.append(Skip(reason, node.name or str(node.outputs[0].name)))
        return PassResult(model, modified=count > 0, counts={"folded": count} if count else {}, skips=tuple(skips))


def _readers(pad: ir.Node) -> list[ir.Node]:
    """Convolutions and pools that read the padded tensor."""
    uses = pad.outputs[0].uses()
    return [u.node for u in uses if u.idx == 0 and u.node.domain == "" and u.node.op_type in OPERATORS]


def _fold(pad: ir.Node, opset: int) -> str | None:
    """Fold ``pad`` into all that read it; why not, if one of them cannot take it."""
    output, source, readers = pad.outputs[0], pad.inputs[0], _readers(pad)
    assert source is not None and pad.graph is not None
    if output.is_graph_output():
        return GRAPH_OUTPUT
    if len(readers) < len(output.uses()):
        return OTHER_READER
    found: list[tuple[ir.Node, dict[str, ir.Attr]]] = []
    for reader in readers:
        rank = spatial_rank(reader)
        padding = "the kernel is not known" if rank is None else read_pad(pad, opset, rank + 2)
        if isinstance(padding, Padding) and _is_wide(padding, source.shape):
            return "the border is wide"
        changed = padding if isinstance(padding, str) else absorb(reader, padding, source, opset)
        if isinstance(changed, str):
            return changed
        found.append((reader, changed))
    for reader, changed in found:
        reader.attributes.update(changed)
        reader.attributes.pop("auto_pad", None)
        reader.replace_input_with(0, source)
    constants = list(pad.inputs[1:])
    pad.graph.remove(pad, safe=True)
    drop_if_unused(dict.fromkeys(constants))
    return None


def _is_wide(padding: Padding, shape: ir.Shape | None) -> bool:
    """Whether the border of an axis that is known is more than a share of it."""
    sizes = shape if shape is not None else ()
    amounts = (begin + end for begin, end in zip(padding.begins, padding.ends, strict=True))
    return any(isinstance(size, int) and amount > WIDE * size for amount, size in zip(amounts, sizes, strict=False))
