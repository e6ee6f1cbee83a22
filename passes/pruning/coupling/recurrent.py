"""LSTM, GRU, RNN: hidden units, those of both directions together, and the features of the input.

::

    X: (steps, batch, I)   W: (D, G H, I)   R: (D, G H, H)   B: (D, 2 G H)   P: (D, 3 H)   Y: (steps, D, batch, H)

Unit h is rows h, H + h, ... of W, R and B, a block of H for each of the G gates, and column h of R. Column h of R reads
it, so a unit that goes is masked there: the gates of the others do not see it. A unit without weights stays at zero: its
candidate is tanh(0), and its state is a part of that and of the state before.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Role, Slot, Tensor, operand
from tamis.passes.pruning.axes.kept import Kept
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.coupling.rules import Rule

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
PEEPHOLES = 3
ZERO_AT_ZERO = {"Tanh", "Relu", "LeakyRelu", "Elu", "Softsign", "ThresholdedRelu"}
"""Activations of candidates and of states, of which zero gives zero."""
STEPS = "steps of a recurrence"
DIRECTIONS = "directions of a recurrence"


def _couple(node: ir.Node, ties: Ties) -> None:
    reason = _unfit(node, ties)
    if reason is not None:
        ties.freeze_node(node, reason)
        return
    x, w, r = (operand(node, i) for i in range(3))
    assert x is not None and isinstance(w, Slot) and isinstance(r, Slot)
    gates = GATES[node.op_type]
    ties.freeze(Axis(x, 0), STEPS)
    ties.tie(Axis(w, 2), Axis(x, 2))
    ties.role(Axis(w, 2), Role.CONSUME)
    unit = Axis(r, 2)
    ties.role(unit, Role.CONSUME)
    _tie_gates(Axis(w, 1), unit, gates, Role.PRODUCE, ties)
    _tie_gates(Axis(r, 1), unit, gates, Role.PRODUCE, ties)
    for index, blocks, role in ((3, 2 * gates, Role.OFFSET), (7, PEEPHOLES, Role.SCALE)):
        constant = operand(node, index)
        if isinstance(constant, Slot):
            _tie_gates(Axis(constant, 1), unit, blocks, role, ties)
    _couple_states(node, x, unit, ties)
    if not _stays_at_zero(node):
        ties.shift(node.outputs[0])
        for state in node.outputs[1:]:
            ties.shift(state)


def _unfit(node: ir.Node, ties: Ties) -> str | None:
    """Why a node is left alone; None if it is not."""
    if node.attributes.get_int("layout", 0):
        return f"{node.op_type} with the batch in front"
    constant = [operand(node, i) for i in (1, 2, 3, 7)]
    if any(t is not None and not isinstance(t, Slot) for t in constant) or None in constant[:2]:
        return f"{node.op_type} with computed weights"
    read = [t for t in (operand(node, i) for i in range(len(node.inputs))) if t is not None]
    given = [y for y in node.outputs if y.name]
    return "a tensor of unknown rank" if any(ties.rank(t) is None for t in (*read, *given)) else None


def _tie_gates(axis: Axis, unit: Axis, blocks: int, role: Role, ties: Ties) -> None:
    """Position b H + h of ``axis`` goes with unit h, for all blocks b."""
    hidden = ties.size(unit) or 0
    ties.role(axis, role)
    ties.tie(axis, unit, np.arange(blocks * hidden), np.tile(np.arange(hidden), blocks))


def _couple_states(node: ir.Node, x: Tensor, unit: Axis, ties: Ties) -> None:
    """Outputs, states at the start, lengths: the batch goes along, but a bias makes other than zero of zeros there."""
    batch = Axis(x, 1)
    lengths = operand(node, 4)
    if lengths is not None:
        ties.tie(Axis(lengths, 0), batch)
    y, *last = node.outputs
    tensors = [(y, 3), *((state, 2) for state in last), *((operand(node, i), 2) for i in (5, 6))]
    for tensor, axis in tensors:
        if tensor is None or ties.rank(tensor) is None:
            continue
        if axis == 3:
            ties.freeze(Axis(tensor, 0), STEPS)
        ties.freeze(Axis(tensor, axis - 2), DIRECTIONS)
        ties.tie(Axis(tensor, axis - 1), batch)
        ties.shifted.add(Axis(tensor, axis - 1))
        if isinstance(tensor, Slot):
            ties.role(Axis(tensor, axis), Role.OFFSET)
        elif tensor in node.outputs:
            ties.start(Axis(tensor, axis))
        ties.tie(Axis(tensor, axis), unit)


def _stays_at_zero(node: ir.Node) -> bool:
    """Whether a unit whose weights are zero stays at zero: by the activations of candidates and of states."""
    found = node.attributes.get_strings("activations", [])
    each = {"LSTM": 3, "GRU": 2, "RNN": 1}[node.op_type]
    decisive = {"LSTM": (1, 2), "GRU": (1,), "RNN": (0,)}[node.op_type]
    return all(name in ZERO_AT_ZERO for i, name in enumerate(found) if i % each in decisive)


def _repair(node: ir.Node, kept: Kept) -> None:
    """Fewer hidden units."""
    unit = Axis(Slot(node, 2), 2)
    if kept.loses(unit):
        node.attributes["hidden_size"] = ir.AttrInt64("hidden_size", kept.size(unit))


RULES = {op_type: Rule(_couple, _repair) for op_type in GATES}
