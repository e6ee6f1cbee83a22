"""Which layers are refitted, to what, and in which order.

::

    y ---------------------- target of a layer: what the reference gives, of the channels that stay
    y + s - s^ ------------- where an Add alone reads it: what makes the sum right, s^ being what the pruned model adds

A layer is refitted where what it reads differs between the models. It comes behind all layers that its input depends on,
and behind those that s^ depends on; of two layers that one Add sums, the later takes up what the earlier left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.observe import reads
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.pruning.axes.axis import Indices
from tamis.passes.pruning.compensation.linear_layer import LinearLayer, linear_layer
from tamis.passes.pruning.compensation.survivors import Survivors

RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True, eq=False)
class Site:
    """A layer to refit.

    Args:
        layer: Of the pruned model.
        outputs: Channels of the reference that it still gives; None for all.
        target: What the reference gives.
        added: What is added to the output, in the reference and in the pruned model; None if nothing is.
    """

    layer: LinearLayer
    outputs: Indices | None
    target: ir.Value
    added: tuple[ir.Value, ir.Value] | None = None

    @property
    def name(self) -> str:
        """Of the node."""
        return str(self.layer.node.name)

    @property
    def input(self) -> ir.Value:
        """What the layer reads."""
        value = self.layer.node.inputs[0]
        assert value is not None
        return value


def plan_refit(
    pruned: ir.Model, reference: ir.Model, kept: Mapping[str, Survivors]
) -> tuple[list[Site], tuple[Skip, ...]]:
    """Sites in the order in which they are to be refitted, and layers that cannot be, though their input differs."""
    twins: dict[str | None, ir.Node] = {node.name: node for node in reference.graph if node.name}
    differing = _differing(pruned, twins)
    sites, skips = [], []
    for node in pruned.graph:
        if not node.inputs or node.inputs[0] not in differing:
            continue
        found = _site(node, twins, kept)
        if isinstance(found, Site):
            sites.append(found)
        elif found is not None:
            skips.append(found)
    return _ordered(pruned, _with_added(sites, twins)), tuple(skips)


def _site(node: ir.Node, twins: Mapping[str | None, ir.Node], kept: Mapping[str, Survivors]) -> Site | Skip | None:
    if node.op_type in RECURRENT:
        return Skip("the weights of a recurrent layer have no closed form", str(node.name))
    layer = linear_layer(node)
    if layer is None or isinstance(layer, Skip):
        return layer
    twin = twins.get(node.name)
    if twin is None or twin.op_type != node.op_type:
        return Skip("no layer of that name in the reference", str(node.name))
    if layer.adder is not None:
        adder = twins.get(layer.adder[0].name)
        if adder is None or twin.outputs[0] not in adder.inputs:
            return Skip("no bias of that name in the reference", str(node.name))
        twin = adder
    found = kept.get(str(node.name))
    return Site(layer, None if found is None else found.outputs, twin.outputs[0])


def _differing(pruned: ir.Model, twins: Mapping[str | None, ir.Node]) -> set[ir.Value]:
    """Values of the pruned model that may be other than those of the reference."""
    found: set[ir.Value] = set()
    for node in pruned.graph:
        twin = twins.get(node.name)
        if twin is None or not found.isdisjoint(reads(node)) or not _same(node, twin):
            found.update(node.outputs)
    return found


def _same(node: ir.Node, twin: ir.Node) -> bool:
    """Whether two nodes are alike in themselves, and in what they read of constants."""
    if node.op_type != twin.op_type or len(node.inputs) != len(twin.inputs):
        return False
    for value, other in zip(node.inputs, twin.inputs, strict=True):
        a, b = constant_tensor(value), constant_tensor(other)
        if a is not b and (a is None or b is None or not np.array_equal(a.numpy(), b.numpy())):
            return False
    return True


def _with_added(sites: list[Site], twins: Mapping[str | None, ir.Node]) -> list[Site]:
    """The sites, each with what an Add adds to it, if that is right by then."""
    place = {site.layer.output: i for i, site in enumerate(sites)}
    return [Site(s.layer, s.outputs, s.target, _added(s, i, place, twins)) for i, s in enumerate(sites)]


def _added(
    site: Site, number: int, place: Mapping[ir.Value, int], twins: Mapping[str | None, ir.Node]
) -> tuple[ir.Value, ir.Value] | None:
    output = site.layer.output
    user = sole_user(output)
    twin = None if user is None else twins.get(user.name)
    if user is None or twin is None or user.op_type != "Add" or user.domain != "" or twin.op_type != "Add":
        return None
    index = 0 if user.inputs[0] is output else 1
    other, wanted = user.inputs[1 - index], twin.inputs[1 - index]
    if other is None or wanted is None or twin.inputs[index] is not site.target:
        return None
    if constant_tensor(other) is not None or constant_tensor(wanted) is not None:
        return None
    later = place.get(other, -1) > number and sole_user(other) is user
    return None if later else (wanted, other)


def _ordered(model: ir.Model, sites: list[Site]) -> list[Site]:
    """Each behind those that it needs; what a site needs is a set of bits, one a site."""
    number = {site.layer.output: i for i, site in enumerate(sites)}
    needs: dict[ir.Value, int] = {}
    for node in model.graph:
        bits = 0
        for value in reads(node):
            bits |= needs.get(value, 0)
        for output in node.outputs:
            needs[output] = bits | (1 << number[output] if output in number else 0)
    left = list(enumerate(sites))
    done, order = 0, []
    while left:
        ready = next(i for i, (_, site) in enumerate(left) if not _needed(site, needs) & ~done)
        index, site = left.pop(ready)
        done |= 1 << index
        order.append(site)
    return order


def _needed(site: Site, needs: Mapping[ir.Value, int]) -> int:
    return needs.get(site.input, 0) | (0 if site.added is None else needs.get(site.added[1], 0))
