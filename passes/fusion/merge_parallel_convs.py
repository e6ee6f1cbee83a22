"""Merge convolutions of one tensor that are added up into one convolution.

::

    Conv3x3(x, W3, b3) + Conv1x1(x, W1, b1) + BatchNormalization(x)
    ->  Conv3x3(x, W3 + [W1] + [diag s], b3 + b1 + t)       [.]: at the place in the 3x3 kernel that it reads from

for Conv with groups, and for x itself, scaled and shifted per channel, where the stride is 1.

*Refuses*: branches whose result something else reads, or that are graph outputs; branches that differ in channels,
groups, strides or, for some size of x, in output size; merged kernels with more multiplications than their parts, such
as of 1x3 and 3x1; weights that are not constant, or not float16, float32 or float64; sums that are not finite; paddings
that depend on the size of x; models below opset 9, or that define one of the operators themselves.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.compiler.rewriting.rewrite_pass import Builder, remove_unread
from tamis.passes.fusion.affine_nodes import OPERATORS as AFFINE
from tamis.passes.fusion.parallel_branches import Branch
from tamis.passes.fusion.parallel_merges import Merges, find_merges
from tamis.passes.fusion.sum_tree import OPERATORS as SUMS
from tamis.passes.fusion.sum_tree import SumTree, sum_trees

MIN_OPSET = 9
"""Below this, BatchNormalization is governed by attributes."""


class Options(PassOptions):
    """Options of ``merge-parallel-convs``."""


class MergeParallelConvs(GraphPass[Options]):
    """Merge parallel convolutions, and the identity beside them, into one.

    *Match*: a sum (Add, Sum, or a tree of them) of which two terms or more are convolutions of the same ``x``, or one
    is and another is ``x`` itself, behind BatchNormalization, Mul, Add, Sub or Div with per-channel constants or not.
    Other terms stay.

    *Rewrite*: one Conv whose kernel has a tap wherever a branch has one, with the sums of weights and of biases.

    *Shapes*: ``W: (C_out, C_in / groups, *k)``; the identity is ``W[o, o mod C_in / groups] = 1`` for ``C_in = C_out``.
    Branches have equal output sizes for every ``x`` if ``begin + end - dilation (k - 1)`` is the same in all of them.

    *Preserves*: the function up to rounding, for finite ``x``. Sums of weights are taken in float64 and rounded once.

    *References*: Ding et al., "RepVGG: making VGG-style ConvNets great again", 2021 (2101.03697), section 3.3.
    """

    name = "merge-parallel-convs"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        where = model.graph.name or "graph"
        if opset < MIN_OPSET:
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        own = {name for domain, name, _ in model.functions if domain == ""}
        if own & {"Conv", *AFFINE, *SUMS}:
            return PassResult(model, modified=False, skips=(Skip("the model defines an operator itself", where),))
        build: Builder | None = None
        skips: dict[Skip, None] = {}
        count = 0
        for graph in model.graphs():
            for tree in sum_trees(graph):
                found = find_merges(tree)
                skips.update(dict.fromkeys(found.skips))
                if found.merged:
                    build = build or Builder(Names(model), opset)
                    _rewrite(tree, found, build)
                    count += sum(len(branch.terms) for branch in found.merged)
        return PassResult(
            model, modified=count > 0, counts={"branches merged": count} if count else {}, skips=tuple(skips)
        )


def _rewrite(tree: SumTree, found: Merges, build: Builder) -> None:
    """Put the merged convolutions and the terms that are left in the place of ``tree``."""
    root = tree.root
    output = root.outputs[0]
    build.before(root)
    gone = {term for branch in found.merged for term in branch.terms}
    terms = [_convolution(branch, tree.terms[branch.terms[0]], build) for branch in found.merged]
    terms += [value for i, value in enumerate(tree.terms) if i not in gone]
    total, *others = terms
    for other in others:
        alike = other.shape is not None and other.shape == total.shape
        total = build.op("Add", total, other, like=total if alike else None)
    total.type, total.shape = output.type, output.shape
    nodes = [*tree.nodes[1:], *(node for term in sorted(gone) for node in found.paths[term])]
    constants = [value for node in nodes for value in node.inputs]
    bypass(root, total)
    remove_unread(nodes)
    drop_if_unused(dict.fromkeys(constants))


def _convolution(branch: Branch, like: ir.Value, build: Builder) -> ir.Value:
    stored = branch.linear.stored()
    assert stored is not None
    weight, bias = stored
    inputs = (branch.linear.node.inputs[0], weight, *([bias] if bias.any() else []))
    return build.op("Conv", *inputs, like=like, group=branch.groups, **branch.window.attributes())
