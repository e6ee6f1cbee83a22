"""Which nodes of a model a kernel of its pruned and legalized form computes.

Pruning and legalization change nodes, and names of nodes, but values that are still there keep their names. So a node
stands for the node of the model that gives the same value; what gives values that the model does not have works towards
the next one that does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.target import NodeTime


@dataclass(frozen=True)
class Profile:
    """Times of one form of a model.

    Args:
        times: Nodes of the model, by their places in it, that one kernel computes together -> nanoseconds.
        rest: Nanoseconds of kernels that stand for no node, such as changes of layout.
    """

    times: Mapping[frozenset[int], float]
    rest: float

    @property
    def total(self) -> float:
        """Nanoseconds of all kernels."""
        return sum(self.times.values()) + self.rest

    def scaled(self, factor: float) -> Profile:
        """The same with other times."""
        return Profile({nodes: ns * factor for nodes, ns in self.times.items()}, self.rest * factor)


def profile_of(model: ir.Model, form: ir.Model, kernels: Sequence[NodeTime]) -> Profile:
    """Times by nodes of ``model``.

    Args:
        model: Whose nodes are meant.
        form: What was profiled; ``kernels`` names its nodes.
        kernels: The profile.
    """
    owner = _owners(model, form)
    times: dict[frozenset[int], float] = {}
    rest = 0.0
    for kernel in kernels:
        nodes = frozenset(owner[name] for name in kernel.covers if name in owner)
        if nodes:
            times[nodes] = times.get(nodes, 0.0) + kernel.nanoseconds
        else:
            rest += kernel.nanoseconds
    return Profile(times, rest)


def _owners(model: ir.Model, form: ir.Model) -> dict[str, int]:
    """Node of ``form`` -> place of the node of ``model`` that it stands for or works towards."""
    gives = {str(v.name): i for i, node in enumerate(model.graph) for v in node.outputs if v.name}
    found: dict[str, int] = {}
    for node in reversed(form.graph):
        own = [gives[str(v.name)] for v in node.outputs if v.name in gives]
        users = [found[str(use.node.name)] for v in node.outputs for use in v.uses() if use.node.name in found]
        if own or users:
            found[str(node.name)] = own[0] if own else users[0]
    return found
