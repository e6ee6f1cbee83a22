"""Facts of hidden units: which stay at zero, and which are the same.

::

    LSTM   c = f c + i tanh(W_c x + R_c h + b_c)   h = o tanh(c)      zero if W_c, R_c, b_c and both states at the start are
    GRU    h = (1 - z) tanh(W_h x + r (R_h h) + b_h) + z h            zero if W_h, R_h, both b_h and the state at the start are
    RNN    h = tanh(W x + R h + b)                                    zero as for GRU

Every state is within one of zero, or of where it was at the start.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.dead.fact import Array, Fact, only
from tamis.passes.pruning.dead.facts import Facts, Rule, signature
from tamis.passes.pruning.dead.weighted_sums import row_numbers

CANDIDATE = {"LSTM": (4, 3), "GRU": (3, 2), "RNN": (1, 0)}
"""Operator -> number of gates, and which block of the weights makes the candidate."""
STATES = (5, 6)
PEEPHOLES = 7


def _recurrent(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    weights = [constant_array(node.inputs[i]) for i in (1, 2)]
    if weights[0] is None or weights[1] is None or not _is_plain(node):
        return ()
    gates, candidate = CANDIDATE[node.op_type]
    directions, hidden = weights[1].shape[0], weights[1].shape[2]
    parts = [a.astype(np.float64).reshape(directions, gates, hidden, -1) for a in weights if a is not None]
    bias = _optional(node, 3, (directions, 2, gates, hidden))
    peepholes = _optional(node, PEEPHOLES, (directions, 3, hidden))
    starts = [s for i in STATES if (s := _start(node, i, directions, hidden, facts)) is not None]
    if bias is None or peepholes is None or len(starts) < len(STATES):
        return ()
    if not all(np.isfinite(a).all() for a in (*parts, bias)):
        return ()
    silent = (bias[:, :, candidate] == 0).all(axis=1)
    for part in parts:
        silent &= (part[:, candidate] == 0).all(axis=-1)
    for start in starts:
        silent &= (start.low == 0) & (start.high == 0)
    low = np.where(silent, 0.0, np.minimum(starts[0].low, -1.0))
    high = np.where(silent, 0.0, np.maximum(starts[0].high, 1.0))
    rows = np.concatenate(
        [p.transpose(0, 2, 1, 3).reshape(directions, hidden, -1) for p in parts]
        + [bias.transpose(0, 3, 1, 2).reshape(directions, hidden, -1), peepholes.transpose(0, 2, 1)],
        axis=-1,
    )
    known = row_numbers(rows.reshape(directions * hidden, -1), "unit", facts.numbers).reshape(directions, hidden)
    x = facts.of(node.inputs[0])
    source = facts.numbers.fresh() if x is None else int(only(x, (), facts.numbers).number.ravel()[0])
    own = np.full((1, 1), facts.numbers.of(("recurrence", source, facts.numbers.fresh())))
    place = np.arange(directions)[:, None]
    number = facts.numbers.combine(signature(node), own, place, known, starts[0].number, starts[1].number)
    state = Fact(low, high, number)
    facts.states[node] = state.moved((directions, 1, hidden))
    last = [state.moved((directions, 1, hidden)), None]
    return (state.moved((1, directions, 1, hidden)), *last)


def _is_plain(node: ir.Node) -> bool:
    """Whether it has the usual activations, and the batch in the middle."""
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[node.op_type]
    given = list(node.attributes.get_strings("activations", ()))
    repeated = usual * (len(given) // len(usual))
    return given in ([], repeated) and not node.attributes.get_int("layout", 0) and "clip" not in node.attributes


def _optional(node: ir.Node, index: int, shape: tuple[int, ...]) -> Array | None:
    """A constant, or zeros if there is none; None if it is computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return np.zeros(shape)
    array = constant_array(value)
    return None if array is None else array.astype(np.float64).reshape(shape)


def _start(node: ir.Node, index: int, directions: int, hidden: int, facts: Facts) -> Fact | None:
    """What is known of a state at the start, ``(D, H)``; zero if there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        zeros = np.zeros((directions, hidden))
        return Fact(zeros, zeros, np.zeros((directions, hidden), np.int64))
    fact = facts.of(value)
    if fact is None or len(fact.shape) != 3:
        return None
    fact = only(fact, (0, 2), facts.numbers)
    low, high = (np.broadcast_to(a[:, 0], (directions, hidden)) for a in (fact.low, fact.high))
    number = facts.numbers.combine(
        "start", fact.number[:, 0], np.arange(hidden)[None] if fact.shape[2] == 1 else 0 * np.arange(hidden)[None]
    )
    return Fact(low, high, np.broadcast_to(number, (directions, hidden)))


RULES: dict[str, Rule] = {name: _recurrent for name in CANDIDATE}
