"""Compute both branches of an If and choose with Where.

::

    If (c) { Relu(x) } else { Neg(x) }   ->  Where(c, Relu(x), Neg(x))

TVM imports an If, but then optimizes nothing in the whole model: what it calls dataflow must not branch.

*Refuses*: branches of more than ``max_nodes`` nodes, with random operators or subgraphs of their own; shapes that are
not known or differ; indices that may be out of bounds and integer divisions, which may rely on the condition; element
types that Where has no kernel for. An If whose condition is known is gone before: ``fix-shapes`` puts its branch in.
"""

from __future__ import annotations

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.moved_nodes import move_before, rename
from tamis.targets.tvm.legalize.node_outputs import replace_outputs
from tamis.targets.tvm.legalize.safe_branches import branches_of, why_not_alike, why_unsafe

MIN_OPSET = 9
"""Below, there is no Where."""
DTYPES = frozenset(
    {ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT8, ir.DataType.INT32, ir.DataType.INT64}
    | {ir.DataType.UINT8, ir.DataType.UINT32}
)
"""What ONNX Runtime's Where has kernels for."""


class Options(PassOptions):
    """Options of ``inline-if``."""

    max_nodes: int = Field(64, ge=0, description="Nodes that both branches of an If may have together.")


class InlineIf(GraphPass[Options]):
    """Compute both branches of an If and choose between their results.

    *Match*: an If, the innermost first, whose branches are short, cannot fail, and give results of equal type and shape.

    *Rewrite*: the nodes of both branches, and a Where for each output.

    *Preserves*: the values, infinities and NaN too, but not the sign of zero: ONNX Runtime's Where adds a zero to what it
    chooses.

    *References*: tvm.relax.frontend.onnx, version 0.27, which builds no dataflow block around a model with an If.
    """

    name = "inline-if"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        found = [
            node
            for graph in reversed(list(model.graphs()))  # inner graphs come after those that they are in
            for node in graph
            if node.op_type == "If" and node.domain == "" and node.op_identifier() not in model.functions
        ]
        if not found:
            return PassResult(model, modified=False)
        if opset < MIN_OPSET:
            return PassResult(
                model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", model.graph.name or "graph"),)
            )
        build = Builder(Names(model), opset)
        skips: list[Skip] = []
        count = 0
        for node in found:
            reason = self._why_not(node, model)
            if reason is None:
                _inline(node, build)
                count += 1
            else:
                skips.append(Skip(reason, node.name or node.outputs[0].name or node.op_type))
        return PassResult(model, count > 0, {"ifs inlined": count} if count else {}, tuple(skips))

    def _why_not(self, node: ir.Node, model: ir.Model) -> str | None:
        branches = branches_of(node)
        if sum(len(branch) for branch in branches) > self.options.max_nodes:
            return "the branches have more nodes than max_nodes"
        for branch in branches:
            if reason := why_unsafe(branch, model):
                return reason
        condition = node.inputs[0]
        rank = None if condition is None or condition.shape is None else len(condition.shape)
        for one, other in zip(*(branch.outputs for branch in branches), strict=True):
            if reason := why_not_alike(one, other):
                return reason
            if one.dtype not in DTYPES:
                return "Where has no kernel for the element type"
            assert one.shape is not None
            if rank is None or rank > len(one.shape):
                return "the condition has more dimensions than a result"
        return None


def _inline(node: ir.Node, build: Builder) -> None:
    branches = branches_of(node)
    rename(branches, build.names)
    build.before(node)
    one, other = (move_before(node, branch) for branch in branches)
    chosen = [build.op("Where", node.inputs[0], a, b, like=a) for a, b in zip(one, other, strict=True)]
    replace_outputs(node, list(chosen), build)
