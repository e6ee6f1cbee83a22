"""Compute before a Transpose what was computed after it, where Transposes meet and vanish by that.

::

    Transpose(0,2,3,1) -> Add(c) -> Relu -> Transpose(0,3,1,2)   ->  Add(c') -> Relu
    Transpose(0,2,3,1) -> Pad -> Concat <- Transpose(0,2,3,1)    ->  Pad -> Concat -> Transpose(0,2,3,1)
    Transpose(p) -> Transpose(q)                                 ->  Transpose(p[q]), or nothing
    Transpose(0,2,3,1) -> Reshape to [N, H W C] -> Gemm          ->  Reshape -> Gemm with permuted rows
    Transpose(1,0) -> Gemm                                       ->  Gemm(transA = 1)
    Transpose -> Shape                                           ->  Shape -> Gather

Exports from frameworks that keep the channels last have Transposes around every convolution.

*Refuses*: rewrites that leave as many Transposes which move as many elements; operators that do not commute with
Transpose; axes, amounts and shapes that are not constant; an unknown number of axes; operands with fewer axes that are
not constant; Softmax below opset 13 over several axes; Resize unless it comes to work on the last two of four axes;
scales of blocks; functions of the model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names, bypass
from tamis.passes.layout.peel_region import peel
from tamis.passes.layout.permutation import Perm, compose, inverse, is_identity, perm_of
from tamis.passes.layout.rewrite_region import rewrite
from tamis.passes.layout.transpose_region import Region, orders_behind

MIN_OPSET = 7
"""Below this, broadcasting is governed by attributes."""


class Options(PassOptions):
    """Options of ``sink-transposes``."""


class SinkTransposes(GraphPass[Options]):
    """Move nodes across Transposes so that Transposes vanish.

    *Match*: nodes of one graph that commute with Transpose and are connected: elementwise operators with broadcasting,
    reductions, Softmax, ArgMax, Concat, Split, Slice, Gather of one axis, Squeeze, Unsqueeze, Reshape that adds or
    removes axes of size 1, Pad, Tile, Expand, Resize, quantization, and normalizations whose channels stay in place.

    *Rewrite*: axes, amounts, shapes and constant operands are permuted, the Transposes at the border go or are joined,
    and new ones come where the border had none. A region is planned first and rewritten only if there are then fewer
    Transposes, or as many that move fewer elements. A Transpose before a matrix product moves into its weight.

    *Shapes*: inside a region they are permuted; graph outputs keep theirs. Unknown sizes may stay unknown.

    *Preserves*: every element. Reductions and matrix products add in another order; all else is bit for bit the same.

    *References*: Click, "Global code motion, global value numbering", 1995, for moving nodes to where they cost least.
    onnxruntime/core/optimizer/transpose_optimization does the like one node at a time, and pushes Transposes only down.
    """

    name = "sink-transposes"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        sweep = _Sweep(model, opset)
        if not sweep.foreign_transpose:
            while sweep.run():
                pass
        counts = {what: count for what, count in sweep.counts.items() if count}
        return PassResult(model, modified=bool(counts), counts=counts, skips=tuple(sweep.skips))


@dataclass
class _Searched:
    """What is known of a graph in one sweep: likely orders, and what has been tried."""

    orders: dict[ir.Node, tuple[int, Perm]]
    tries: dict[ir.Node, int] = field(default_factory=dict)
    seen: set[tuple[ir.Value, Perm]] = field(default_factory=set)


class _Sweep:
    """Sweeps over a model until nothing changes."""

    def __init__(self, model: ir.Model, opset: int) -> None:
        self.model, self.opset = model, opset
        self.names: Names | None = None
        self.counts: Counter[str] = Counter()
        self.skips: dict[Skip, None] = {}
        self.foreign_transpose = any(d == "" and name == "Transpose" for d, name, _ in model.functions)

    def run(self) -> bool:
        """One sweep over all graphs; True if anything changed."""
        self.skips = {}
        done = self.counts.total()
        for graph in self.model.graphs():
            transposes = [node for node in graph if perm_of(node) is not None]
            for node in transposes:
                self._compose(node)
            searched = _Searched(orders_behind(graph, self.opset, self._is_foreign) if transposes else {})
            for node in transposes:
                self._sink(graph, node, searched)
        return self.counts.total() > done

    def _compose(self, node: ir.Node) -> None:
        """Read past the Transpose before ``node``."""
        perm, source = perm_of(node), node.inputs[0]
        before = None if source is None else source.producer()
        first = perm_of(before)
        graph = node.graph
        if graph is None or perm is None or first is None or before is None or before.graph is not graph:
            return
        joined, origin = compose(first, perm), before.inputs[0]
        assert origin is not None
        if not is_identity(joined):
            node.replace_input_with(0, origin)
            node.attributes["perm"] = ir.AttrInt64s("perm", joined)
        elif not bypass(node, origin):
            self.skips[Skip("a graph output cannot take another name", _label(node))] = None
            return
        self.counts["Transposes composed"] += 1
        if not before.outputs[0].uses() and not before.outputs[0].is_graph_output():
            graph.remove(before, safe=True)

    def _is_foreign(self, node: ir.Node) -> bool:
        return node.op_identifier() in self.model.functions

    def _sink(self, graph: ir.Graph, node: ir.Node, searched: _Searched) -> None:
        """Try the regions behind and before ``node``."""
        obstacle = None
        for behind in (True, False):
            perm, value = perm_of(node), node.outputs[0] if behind else node.inputs[0]
            if node.graph is None or perm is None or is_identity(perm) or value is None:
                return
            perm = perm if behind else inverse(perm)
            if (value, perm) in searched.seen:
                continue
            region = Region(graph, self.opset, self._is_foreign, searched.orders)
            region.grow(value, perm, searched.tries)
            searched.seen.update(region.perms.items())
            peel(region)
            obstacle = obstacle or region.obstacle
            if region.pays():
                self._rewrite(region)
                return
        self.skips[Skip(obstacle or "there is nothing to cancel it", _label(node))] = None

    def _rewrite(self, region: Region) -> None:
        self.names = self.names or Names(self.model)
        before, after = region.before(), region.after()
        rewrite(region, self.names)
        self.counts["Transposes removed"] += before[0] - after[0]
        self.counts["Transposes moved"] += before[0] == after[0]
        self.counts["nodes turned"] += len(region.nodes)


def _label(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or node.op_type
