"""One step of an LSTM, GRU or RNN as plain arithmetic.

States and gates are ``(1, B, H)``; a state that is None is zero everywhere, and its products are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.recurrent_node import GATES, Activation, Array, Direction, Recurrence
from tamis.targets.tvm.legalize.versioned_nodes import split

State = tuple[ir.Value | None, ir.Value | None]
"""Hidden state and, for an LSTM, cell."""
GATE_AXIS = 2


@dataclass(frozen=True)
class Constants:
    """Constants of one direction, as values of the graph: made once, read in every step."""

    weight: ir.Value
    recurrence: ir.Value
    bias: ir.Value | None
    reset: tuple[ir.Value, ir.Value] | None
    reset_bias: ir.Value | None
    peepholes: tuple[ir.Value, ...]
    one: ir.Value


def make_constants(found: Recurrence, direction: Direction, build: Builder) -> Constants:
    """Put the constants of ``direction`` into the graph.

    The biases of input and state are added up, except for the new state of a GRU that is linear before its reset.
    """
    hidden, dtype = found.hidden, direction.weight.dtype
    bias, reset_bias = direction.bias, None
    if direction.bias is not None and direction.state_bias is not None:
        state_bias = direction.state_bias.copy()
        if found.kind == "GRU" and found.linear_before_reset:
            reset_bias = build.constant(state_bias[2 * hidden :].copy())
            state_bias[2 * hidden :] = 0
        bias = direction.bias + state_bias
    reset = None
    recurrence = direction.recurrence
    if found.kind == "GRU" and not found.linear_before_reset:
        reset = (_columns(recurrence, 0, 2 * hidden, build), _columns(recurrence, 2 * hidden, 3 * hidden, build))
    peepholes = direction.peepholes
    return Constants(
        weight=build.constant(direction.weight),
        recurrence=build.constant(recurrence) if reset is None else reset[0],
        bias=None if bias is None or not bias.any() else build.constant(bias),
        reset=reset,
        reset_bias=reset_bias,
        peepholes=() if peepholes is None else tuple(build.constant(p.copy()) for p in np.split(peepholes, 3)),
        one=build.constant(np.ones((), dtype)),
    )


def _columns(array: Array, start: int, end: int, build: Builder) -> ir.Value:
    return build.constant(np.ascontiguousarray(array[:, start:end]))


def project(x: ir.Value, constants: Constants, build: Builder) -> ir.Value:
    """The part of the gates that the input gives, for all steps at once: ``(T, B, I) -> (T, B, G H)``."""
    product = build.op("MatMul", x, constants.weight)
    return product if constants.bias is None else build.op("Add", product, constants.bias)


def step(
    found: Recurrence, direction: Direction, constants: Constants, gates: ir.Value, state: State, build: Builder
) -> State:
    """The state after a step.

    Args:
        gates: ``(1, B, G H)``, what the input gives.
        state: Before the step.
    """
    if found.kind == "LSTM":
        return _lstm(found, direction, constants, gates, state, build)
    if found.kind == "GRU":
        return _gru(found, direction, constants, gates, state[0], build), None
    total = _plus_product(gates, state[0], constants.recurrence, build)
    return _activate(direction.activations[0], total, build), None


def _lstm(
    found: Recurrence, direction: Direction, constants: Constants, gates: ir.Value, state: State, build: Builder
) -> State:
    hidden, cell = state
    total = _plus_product(gates, hidden, constants.recurrence, build)
    i, o, f, c = split(build, total, [found.hidden] * GATES["LSTM"], GATE_AXIS)
    f_act, g_act, h_act = direction.activations
    i = _activate(f_act, _peep(i, cell, constants.peepholes, 0, build), build)
    new = build.op("Mul", i, _activate(g_act, c, build))
    if cell is not None:
        if found.input_forget:
            f = build.op("Sub", constants.one, i)
        else:
            f = _activate(f_act, _peep(f, cell, constants.peepholes, 2, build), build)
        new = build.op("Add", build.op("Mul", f, cell), new)
    o = _activate(f_act, _peep(o, new, constants.peepholes, 1, build), build)
    return build.op("Mul", o, _activate(h_act, new, build)), new


def _peep(gate: ir.Value, cell: ir.Value | None, peepholes: Sequence[ir.Value], index: int, build: Builder) -> ir.Value:
    if cell is None or not peepholes:
        return gate
    return build.op("Add", gate, build.op("Mul", peepholes[index], cell))


def _gru(
    found: Recurrence,
    direction: Direction,
    constants: Constants,
    gates: ir.Value,
    hidden: ir.Value | None,
    build: Builder,
) -> ir.Value:
    size = found.hidden
    f_act, g_act = direction.activations
    outer, inner = split(build, gates, [2 * size, size], GATE_AXIS)
    after: ir.Value | None = None
    if hidden is not None and found.linear_before_reset:
        product = build.op("MatMul", hidden, constants.recurrence)
        before, after = split(build, product, [2 * size, size], GATE_AXIS)
        outer = build.op("Add", outer, before)
    elif hidden is not None:
        outer = _plus_product(outer, hidden, constants.recurrence, build)
    update, reset = split(build, _activate(f_act, outer, build), [size, size], GATE_AXIS)
    if found.linear_before_reset:
        if constants.reset_bias is not None:
            after = constants.reset_bias if after is None else build.op("Add", after, constants.reset_bias)
        if after is not None:
            inner = build.op("Add", inner, build.op("Mul", reset, after))
    elif hidden is not None:
        assert constants.reset is not None
        inner = _plus_product(inner, build.op("Mul", reset, hidden), constants.reset[1], build)
    new = build.op("Mul", build.op("Sub", constants.one, update), _activate(g_act, inner, build))
    return new if hidden is None else build.op("Add", new, build.op("Mul", update, hidden))


def _plus_product(gates: ir.Value, state: ir.Value | None, weight: ir.Value, build: Builder) -> ir.Value:
    return gates if state is None else build.op("Add", gates, build.op("MatMul", state, weight))


def _activate(activation: Activation, value: ir.Value, build: Builder) -> ir.Value:
    return build.op(activation.op_type, value, **activation.attributes)
