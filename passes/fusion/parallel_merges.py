"""Find the terms of a sum that one convolution of their common input can stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.compiler.rewriting.rewrite_pass import GRAPH_OUTPUT, OTHER_READERS
from tamis.passes.fusion.affine_nodes import data_input, is_candidate
from tamis.passes.fusion.parallel_branches import Branch, merge_all, read_convolution, read_identity, takes_identity
from tamis.passes.fusion.sum_tree import SumTree

UNLIKE = "the branches differ in channels, groups, strides or output size"
COSTLY = "the merged kernel takes more multiplications than its parts"
NOT_FINITE = "merged weights are not finite"


@dataclass
class Merges:
    """What can be done with a sum.

    Args:
        merged: Convolutions that stand for several terms each.
        paths: Term -> the nodes between the common input and it, the last one first: a Conv, or affine nodes, or none.
        skips: What was left alone.
    """

    merged: list[Branch] = field(default_factory=list)
    paths: dict[int, tuple[ir.Node, ...]] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)

    def skip(self, reason: str, node: ir.Node) -> None:
        """Record that ``node`` was left alone."""
        self.skips.append(Skip(reason, node.name or str(node.outputs[0].name)))

    def convolves(self, term: int) -> bool:
        """Whether a term is a convolution."""
        return any(node.op_type == "Conv" for node in self.paths[term])


def find_merges(tree: SumTree) -> Merges:
    """Terms of ``tree`` that convolutions can stand for, with those convolutions."""
    found = Merges()
    for terms in _by_source(tree, found).values():
        kinds: dict[tuple[object, ...], list[Branch]] = {}
        for branch in _read(terms, found) if len(terms) > 1 else ():
            kinds.setdefault(branch.kind, []).append(branch)
        if len(kinds) > 1:
            found.skip(UNLIKE, tree.root)
        for kind in kinds.values():
            _merge(kind, tree, found)
    return found


def _merge(kind: Sequence[Branch], tree: SumTree, found: Merges) -> None:
    merged = merge_all(kind)
    if len(merged) > 1:
        found.skip(COSTLY, tree.root)
    for branch in merged:
        if len(branch.terms) > 1:
            if branch.linear.stored() is None:
                found.skip(NOT_FINITE, tree.root)
            else:
                found.merged.append(branch)


def _read(terms: Sequence[int], found: Merges) -> list[Branch]:
    """The terms, which have one input and of which the first is a convolution, as far as they can be read."""
    branches: list[Branch] = []
    home: Branch | None = None
    for term in terms:
        path = found.paths[term]
        if found.convolves(term):
            branch = read_convolution(path[0], term)
        elif home is None:
            branch = UNLIKE
        else:
            branch = read_identity(path, term, home)
        if isinstance(branch, Branch):
            branches.append(branch)
            home = branch if home is None and takes_identity(branch) else home
        else:
            node = path[0] if path else found.paths[terms[0]][0]
            found.skip(branch, node)
    return branches


def _by_source(tree: SumTree, found: Merges) -> dict[ir.Value, list[int]]:
    """The inputs of convolutions among the terms -> the terms that come from them, convolutions first."""
    sources: dict[ir.Value, list[int]] = {}
    hidden: list[ir.Node] = []
    for term, value in enumerate(tree.terms):
        node = value.producer()
        if node is None or node.op_type != "Conv" or node.domain != "" or node.graph is not tree.root.graph:
            continue
        if sole_user(value) is None:
            hidden.append(node)
            continue
        source = node.inputs[0]
        assert source is not None
        sources.setdefault(source, []).append(term)
        found.paths[term] = (node,)
    for node in hidden:
        if node.inputs[0] in sources:
            output = node.outputs[0]
            found.skip(GRAPH_OUTPUT if output.is_graph_output() else OTHER_READERS, node)
    for term in range(len(tree.terms)) if sources else ():
        if term not in found.paths:
            _trace(tree, term, sources, found)
    return sources


def _trace(tree: SumTree, term: int, sources: Mapping[ir.Value, list[int]], found: Merges) -> None:
    """Follow a term back over affine nodes that nothing else reads to the input of a convolution."""
    value: ir.Value | None = tree.terms[term]
    path: list[ir.Node] = []
    while value is not None and value not in sources:
        node = value.producer()
        if node is None or not is_candidate(node) or node.graph is not tree.root.graph or sole_user(value) is None:
            return
        path.append(node)
        value = data_input(node)
    if value is not None:
        sources[value].append(term)
        found.paths[term] = tuple(path)
