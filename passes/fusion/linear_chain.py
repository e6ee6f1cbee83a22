"""Find the affine nodes around a linear node that can be folded into it."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.passes.fusion.affine_nodes import Channels, data_input, is_candidate, read_affine
from tamis.passes.fusion.linear_nodes import Linear, read_linear

OTHER_READERS = "something else reads the value in between"
OF_A_GELU = "the factor of a GELU, which runtimes fuse as a whole"


@dataclass
class Chain:
    """What can be folded into one linear node.

    Args:
        linear: The node with everything in ``after`` and ``before`` folded in; None if it cannot be changed.
        after: Affine nodes behind it, nearest first.
        before: Affine nodes in front of it, nearest first.
        skips: Neighbours that were left alone.
    """

    linear: Linear | None = None
    after: list[ir.Node] = field(default_factory=list)
    before: list[ir.Node] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)

    @property
    def needs_add(self) -> bool:
        """True if a shift is left over that the linear node cannot hold."""
        return self.linear is not None and not self.linear.has_bias and bool(self.linear.bias.any())

    @property
    def pays(self) -> bool:
        """True if folding leaves fewer nodes."""
        return self.linear is not None and len(self.after) + len(self.before) > self.needs_add

    def skip(self, reason: str, node: ir.Node) -> None:
        """Record that ``node`` was left alone."""
        self.skips.append(Skip(reason, node.name or node.op_type))


def find_chain(node: ir.Node) -> Chain:
    """Walk from linear ``node`` over affine nodes, backwards from its output and then from its first input."""
    chain = Chain()
    source = node.inputs[0]
    behind = any(is_candidate(use.node) for use in node.outputs[0].uses())
    if not behind and not is_candidate(None if source is None else source.producer()):
        return chain
    linear = read_linear(node)
    if isinstance(linear, str):
        chain.skip(linear, node)
        return chain
    chain.linear = _extend_before(chain, _extend_after(chain, linear))
    return chain


def _extend_after(chain: Chain, linear: Linear) -> Linear:
    value, channels = linear.node.outputs[0], linear.outputs()
    while True:
        user = sole_user(value)
        if user is None or user.graph is not linear.node.graph:
            for candidate in (use.node for use in value.uses() if is_candidate(use.node)):
                chain.skip(OTHER_READERS if user is None else "reader is in a subgraph", candidate)
            return linear
        if not is_candidate(user):
            return linear
        step = read_affine(user, value, channels)
        folded = step if isinstance(step, str) else finite(linear.after(step))
        if isinstance(folded, str):
            chain.skip(folded, user)
            return linear
        chain.after.append(user)
        linear, value = folded, user.outputs[0]


def _extend_before(chain: Chain, linear: Linear) -> Linear:
    value = linear.node.inputs[0]
    while value is not None:
        producer = value.producer()
        if producer is None or not is_candidate(producer) or producer.graph is not linear.node.graph:
            break
        folded = _fold_before(linear, producer, value)
        if isinstance(folded, str):
            chain.skip(folded, producer)
            break
        chain.before.append(producer)
        linear, value = folded, data_input(producer)
    return linear


def _fold_before(linear: Linear, producer: ir.Node, value: ir.Value) -> Linear | str:
    data, channels = data_input(producer), linear.inputs()
    if data is None:
        return "operand is not constant"
    if sole_user(value) is None:
        return OTHER_READERS
    if _is_gelu_product(data.producer()):
        return OF_A_GELU
    if isinstance(channels, str):
        return channels
    if not _keeps_shape(producer, data, channels):
        return "shape of the input is not known to stay the same"
    step = read_affine(producer, data, channels)
    folded = step if isinstance(step, str) else linear.before(step)
    return folded if isinstance(folded, str) else finite(folded)


def _is_gelu_product(node: ir.Node | None) -> bool:
    """Whether ``node`` is ``x * (1 + erf(..))`` or ``x * (1 + tanh(..))``."""
    if node is None or node.op_type != "Mul":
        return False
    sums = [p for v in node.inputs if v is not None and (p := v.producer()) is not None and p.op_type == "Add"]
    terms = [p for node in sums for v in node.inputs if v is not None and (p := v.producer()) is not None]
    return any(term.op_type in ("Erf", "Tanh") for term in terms)


def finite(linear: Linear) -> Linear | str:
    """``linear``, or why its parameters cannot be stored."""
    return "folded parameters are not finite" if linear.stored() is None else linear


def _keeps_shape(node: ir.Node, data: ir.Value, channels: Channels) -> bool:
    """True if ``node`` certainly has the shape of ``data``: its constant must not broadcast it."""
    if node.op_type == "BatchNormalization":
        return True
    constant = next(t for v in node.inputs if v is not data and (t := constant_tensor(v)) is not None)
    if constant.size == 1 and len(constant.shape) <= 1:
        return True
    if data.shape is None or len(data.shape) != channels.rank:
        return False
    return constant.size == 1 or data.shape[channels.axis] == channels.count
