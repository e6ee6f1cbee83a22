"""What an LSTM, GRU or RNN node computes, with its constants in the form that unrolled steps need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array

Array = np.ndarray[Any, np.dtype[Any]]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULT_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
DTYPES = frozenset({ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})
NAMES = {
    name.lower(): name
    for name in ("Elu", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")
}
"""Activations, as the attribute may spell them and as the operator is called."""
PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
}
"""Parameters of activations, with their defaults."""


@dataclass(frozen=True)
class Activation:
    """An operator of one input and its attributes."""

    op_type: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent node.

    Args:
        weight: ``(I, G H)``, of the input.
        recurrence: ``(H, G H)``, of the state.
        bias: ``(G H)``, of the input; None if there is none.
        state_bias: ``(G H)``, of the state; None if there is none.
        peepholes: ``(3 H)``, of the cell, for the input, output and forget gate; None if there are none.
        activations: As many as the operator has.
        reverse: Whether it goes from the last step to the first.
    """

    weight: Array
    recurrence: Array
    bias: Array | None
    state_bias: Array | None
    peepholes: Array | None
    activations: tuple[Activation, ...]
    reverse: bool


@dataclass(frozen=True)
class Recurrence:
    """A recurrent node with constant weights and a known number of steps.

    Args:
        kind: LSTM, GRU or RNN.
        steps: Of the sequence.
        hidden: Size of the state.
        directions: One or two.
        initial: Values of the initial states, ``(D, B, H)`` or ``(B, D, H)``; None means zeros.
        batch_first: Whether the layout is ``(B, T, ...)`` instead of ``(T, ..., B, ...)``.
        linear_before_reset: Of a GRU.
        input_forget: Of an LSTM.
    """

    kind: str
    steps: int
    hidden: int
    directions: tuple[Direction, ...]
    initial: tuple[ir.Value | None, ...]
    batch_first: bool
    linear_before_reset: bool
    input_forget: bool


def read_recurrence(node: ir.Node) -> Recurrence | str:
    """The recurrence of ``node``; or why it cannot be unrolled, in a few words without names."""
    inputs = [*node.inputs, *[None] * (8 - len(node.inputs))]
    x, batch_first = inputs[0], node.attributes.get_int("layout", 0) == 1
    if x is None or x.dtype not in DTYPES:
        return "the element type is not a float of 16, 32 or 64 bits"
    steps = None if x.shape is None or len(x.shape) != 3 else x.shape[1 if batch_first else 0]
    if not isinstance(steps, int) or steps < 1:
        return "the number of steps is not known"
    if "clip" in node.attributes:
        return "it clips its gates"
    if inputs[4] is not None and not _is_full(inputs[4], steps):
        return "the sequences may be shorter than the tensor"
    activations = _activations(node)
    if isinstance(activations, str):
        return activations
    directions = _directions(node, inputs, activations)
    if isinstance(directions, str):
        return directions
    return Recurrence(
        kind=node.op_type,
        steps=steps,
        hidden=directions[0].recurrence.shape[0],
        directions=directions,
        initial=(inputs[5], inputs[6] if node.op_type == "LSTM" else None),
        batch_first=batch_first,
        linear_before_reset=node.attributes.get_int("linear_before_reset", 0) == 1,
        input_forget=node.attributes.get_int("input_forget", 0) == 1,
    )


def _is_full(lengths: ir.Value, steps: int) -> bool:
    array = constant_array(lengths)
    return array is not None and bool((array == steps).all())


def _directions(
    node: ir.Node, inputs: list[ir.Value | None], activations: tuple[Activation, ...]
) -> tuple[Direction, ...] | str:
    gates, count = GATES[node.op_type], len(DEFAULT_ACTIVATIONS[node.op_type])
    direction = node.attributes.get_string("direction", "forward")
    backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    constants = [constant_array(inputs[i]) for i in (1, 2, 3, 7)]
    weight, recurrence, bias, peepholes = constants
    if weight is None or recurrence is None:
        return "the weights are not constant"
    for value, array in ((inputs[3], bias), (inputs[7], peepholes)):
        if value is not None and array is None:
            return "the biases are not constant"
    if not all(np.isfinite(array).all() for array in constants if array is not None):
        return "the weights are not finite"  # steps from a state of zeros leave its products out
    half = gates * recurrence.shape[2]
    return tuple(
        Direction(
            weight=np.ascontiguousarray(weight[i].T),
            recurrence=np.ascontiguousarray(recurrence[i].T),
            bias=None if bias is None else bias[i, :half],
            state_bias=None if bias is None else bias[i, half:],
            peepholes=None if peepholes is None else peepholes[i],
            activations=activations[i * count : (i + 1) * count],
            reverse=reverse,
        )
        for i, reverse in enumerate(backwards)
    )


def _activations(node: ir.Node) -> tuple[Activation, ...] | str:
    directions = 2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1
    given = node.attributes.get_strings("activations", DEFAULT_ACTIVATIONS[node.op_type] * directions)
    numbers = {name: iter(node.attributes.get_floats(f"activation_{name}", ())) for name in ("alpha", "beta")}
    found = []
    for spelled in given:
        name = NAMES.get(spelled.lower())
        if name is None:
            return f"activation {spelled}"
        found.append(Activation(name, _parameters(name, numbers)))
    return tuple(found)


def _parameters(name: str, numbers: Mapping[str, Iterator[float]]) -> dict[str, float]:
    """Each activation that has a parameter takes the next number, or its default if there are no more."""
    return {key: next(numbers[key], default) for key, default in PARAMETERS.get(name, {}).items()}
