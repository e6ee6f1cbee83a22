"""Rewrite a region of nodes to what they become when their inputs are not transposed yet."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor, constant_value, set_constant
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.passes.layout.absorbers import Absorb, absorber
from tamis.passes.layout.permutation import Perm, compose, inverse, is_identity, perm_of, turned_back
from tamis.passes.layout.transpose_region import Region, is_same

Place = tuple[ir.Node, int]


@dataclass
class Readers:
    """What reads a value, by the kinds of ``Region.kind``; what absorbs a Transpose comes with how it does."""

    inside: list[Place] = field(default_factory=list)
    outside: list[Place] = field(default_factory=list)
    turns: list[Place] = field(default_factory=list)
    cancels: list[Place] = field(default_factory=list)
    absorbs: list[Place] = field(default_factory=list)
    how: list[Absorb] = field(default_factory=list)


def rewrite(region: Region, names: Names) -> None:
    """Change the graph; afterwards the values of the region's nodes are the turned ones, under new names."""
    readers = {value: _readers(region, value) for value in region.perms}
    turned = {value: _turned(region, value, readers[value], names) for value in region.perms}
    constants = _Constants(region.graph, names)
    for node in region.nodes:
        _rewrite_node(region, node, turned, constants)
    for value, of in readers.items():
        if region.is_inside(value) and not is_identity(region.perms[value]):
            _leave(region, value, of, names)
        elif turned[value] is not None and turned[value] is not value:
            _absorb(region, value, turned[value], of, names)
    drop_if_unused(constants.replaced)


def _readers(region: Region, value: ir.Value) -> Readers:
    readers = Readers()
    named = False
    for use in list(value.uses()):
        kind = region.kind(use.node, use.idx, value)
        if kind == "cancels" and use.node.outputs[0].is_graph_output():
            kind, named = ("outside" if named else "cancels"), True
        getattr(readers, kind).append((use.node, use.idx))
        how = absorber(use.node, use.idx, region.perms[value]) if kind == "absorbs" else None
        if how is not None:
            readers.how.append(how)
    return readers


def _turned(region: Region, value: ir.Value, of: Readers, names: Names) -> ir.Value | None:
    """The turned form of ``value``, made if need be; None if nothing needs it."""
    perm, producer = region.perms[value], value.producer()
    if is_identity(perm) or region.is_inside(value):
        return value
    wanted = bool(of.inside)
    source = region.source(value)
    if source is not None:
        assert producer is not None
        if source == perm:
            return producer.inputs[0]
        return _transpose(region, producer.inputs[0], compose(source, inverse(perm)), value, names) if wanted else None
    return _transpose(region, value, inverse(perm), value, names) if wanted else None


def _transpose(region: Region, value: ir.Value | None, perm: Perm, after: ir.Value, names: Names) -> ir.Value:
    """A new Transpose of ``value`` behind the node that gives ``after``."""
    assert value is not None
    base = f"{after.name}_transposed"
    node = ir.node("Transpose", [value], {"perm": list(perm)}, name=names.fresh(base))
    output = node.outputs[0]
    output.name, output.type = names.fresh(base), value.type
    if value.shape is not None:
        output.shape = ir.Shape([value.shape[axis] for axis in perm])
    producer = after.producer()
    if producer is not None and producer.graph is region.graph:
        region.graph.insert_after(producer, node)
    else:
        region.graph.insert_before(region.graph[0], node)
    return output


def _rewrite_node(
    region: Region, node: ir.Node, turned: dict[ir.Value, ir.Value | None], constants: _Constants
) -> None:
    new = region.nodes[node]
    for index, (value, perm) in enumerate(zip(list(node.inputs), new.inputs, strict=True)):
        if value is None or perm is None:
            continue
        if value in turned:
            node.replace_input_with(index, turned[value])
        elif constant_tensor(value) is not None and not is_same(value, perm):
            node.replace_input_with(index, constants.give(value, perm))
    for name, attribute in new.attributes.items():
        node.attributes[name] = attribute
    for index, array in new.constants.items():
        constants.replaced.append(node.inputs[index] if index < len(node.inputs) else None)
        set_constant(node, index, array, constants.names.fresh(f"{node.name or node.op_type}_turned"))


class _Constants:
    """Transposed constants, each made once.

    Args:
        graph: Where they become initializers.
        names: Free names.
    """

    def __init__(self, graph: ir.Graph, names: Names) -> None:
        self.graph, self.names = graph, names
        self.replaced: list[ir.Value | None] = []
        self._made: dict[tuple[ir.Value, Perm], ir.Value] = {}

    def give(self, value: ir.Value, perm: Perm) -> ir.Value:
        """The turned form of ``value``, with axes of size 1 in front if it has too few."""
        if (value, perm) not in self._made:
            array = constant_array(value)
            assert array is not None
            full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
            name = self.names.fresh(f"{value.name}_turned")
            tensor = ir.Tensor(np.ascontiguousarray(full.transpose(inverse(perm))), dtype=value.dtype, name=name)
            self._made[value, perm] = constant_value(name, tensor)
            self.graph.register_initializer(self._made[value, perm])
            self.replaced.append(value)
        return self._made[value, perm]


def _leave(region: Region, value: ir.Value, of: Readers, names: Names) -> None:
    """Let what is outside read a Transpose of ``value``, which is turned from now on."""
    perm, old_name, old_shape = region.perms[value], value.name, value.shape
    value.name = names.fresh(f"{old_name}_turned")
    if old_shape is not None:
        value.shape = ir.Shape(turned_back(list(old_shape), perm))
    plain: ir.Value | None = None
    if of.outside or value.is_graph_output():
        plain = _transpose(region, value, perm, value, names)
        plain.name, plain.shape = old_name, old_shape
        for node, index in (*of.outside, *of.absorbs):
            node.replace_input_with(index, plain)
        for index, output in enumerate(region.graph.outputs):
            if output is value:
                region.graph.outputs[index] = plain
    for node, _ in of.turns:
        node.attributes["perm"] = ir.AttrInt64s("perm", compose(perm, perm_of(node) or ()))
    _finish(value, of, names, absorb=plain is None)


def _absorb(region: Region, value: ir.Value, turned: ir.Value | None, of: Readers, names: Names) -> None:
    """Let what can read ``turned``; the Transpose that gave ``value`` goes if nothing needs it."""
    assert turned is not None
    needed = bool(of.outside) or value.is_graph_output()
    is_source = region.source(value) is not None
    _finish(turned, of, names, absorb=is_source and not needed)
    producer = value.producer()
    if is_source and producer is not None and not value.uses() and not value.is_graph_output():
        region.graph.remove(producer, safe=True)


def _finish(turned: ir.Value, of: Readers, names: Names, *, absorb: bool) -> None:
    for node, _ in of.cancels:
        gone = bypass(node, turned)
        assert gone, "a name was promised to two graph outputs"
    if absorb:
        for take in of.how:
            take(turned, names)
