"""Unroll LSTM, GRU and RNN into MatMuls and elementwise operators.

::

    LSTM(x: (T, B, I))
    ->  g = MatMul(x, W) + b                    all steps at once
        i, o, f, c = Split(g[t] + MatMul(h, R))
        cell = Sigmoid(f) * cell + Sigmoid(i) * Tanh(c)
        h = Sigmoid(o) * Tanh(cell)             for t = 0 ... T - 1

TVM imports no recurrent operator and no loop.

*Refuses*: an unknown number of steps, or more than ``max_steps``; sequences that may be shorter than the tensor; weights
that are not constant or not finite; ``clip``; activations of two parameters other than HardSigmoid.
"""

from __future__ import annotations

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.node_pass import NodePass
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.node_outputs import is_read, replace_outputs
from tamis.targets.tvm.legalize.recurrent_cells import State, make_constants, project, step
from tamis.targets.tvm.legalize.recurrent_node import GATES, Direction, Recurrence, read_recurrence
from tamis.targets.tvm.legalize.versioned_nodes import split, unsqueeze

PARTS = 16
"""Tensors that one Concat puts together: TVM's code for it tests, for each element, which one it comes from."""


class Options(PassOptions):
    """Options of ``decompose-rnn``."""

    max_steps: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Longest sequence that is unrolled, in steps. TVM needs about 60 ms of build time for each.",
    )


class DecomposeRnn(NodePass[Options]):
    """Compute recurrent operators step by step.

    *Match*: an LSTM, GRU or RNN, in either layout, direction or both, with initial states, peepholes,
    ``input_forget`` and ``linear_before_reset`` or without, over a known number of steps.

    *Rewrite*: one MatMul of the whole sequence with the input weights; then, for each step, one MatMul with the state
    (two in a GRU whose reset comes before the product) and the arithmetic of the gates. A step whose state is zero has no MatMul.

    *Shapes*: ``x: (T, B, I)``, states ``(1, B, H)``; the batch may be dynamic.

    *Preserves*: the function up to rounding.

    *References*: the ONNX operators LSTM, GRU and RNN; onnxruntime/core/providers/cpu/rnn for which activation takes
    which parameter. Measured with TVM 0.27, untuned: a sequence of 312 steps and 128 units builds in 20 s.
    """

    name = "decompose-rnn"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    op_types = frozenset(GATES)

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        found = read_recurrence(node)
        if isinstance(found, str):
            return found
        if found.steps > self.options.max_steps:
            return "more steps than max_steps"
        x = node.inputs[0]
        assert x is not None
        if found.batch_first:
            x = build.op("Transpose", x, perm=(1, 0, 2))
        initial = [_per_direction(value, found, build) for value in found.initial]
        sequence = is_read(node.outputs[0])
        runs = [
            _Run(found, direction, build).over(x, (initial[0][i], initial[1][i]), keep=sequence)
            for i, direction in enumerate(found.directions)
        ]
        states = [[run[1][i] for run in runs] for i in range(len(node.outputs[1:]))]
        wanted = [_sequence([run[0] for run in runs], found, build) if sequence else None]
        for output, parts in zip(node.outputs[1:], states, strict=True):
            wanted.append(_states(parts, found, build) if is_read(output) else None)
        replace_outputs(node, wanted, build)
        return True


class _Run:
    """All steps of one direction."""

    def __init__(self, found: Recurrence, direction: Direction, build: Builder) -> None:
        self._found = found
        self._direction = direction
        self._build = build
        self._constants = make_constants(found, direction, build)

    def over(self, x: ir.Value, state: State, *, keep: bool) -> tuple[list[ir.Value], State]:
        """The hidden states in the order of the sequence if they are to be kept, and the last state."""
        steps = self._found.steps
        gates = split(self._build, project(x, self._constants, self._build), [1] * steps, 0)
        hidden: dict[int, ir.Value] = {}
        for t in reversed(range(steps)) if self._direction.reverse else range(steps):
            state = step(self._found, self._direction, self._constants, gates[t], state, self._build)
            assert state[0] is not None
            hidden[t] = state[0]
        return [hidden[t] for t in range(steps)] if keep else [], state


def _per_direction(value: ir.Value | None, found: Recurrence, build: Builder) -> tuple[ir.Value | None, ...]:
    count = len(found.directions)
    if value is None:
        return (None,) * count
    if found.batch_first:
        value = build.op("Transpose", value, perm=(1, 0, 2))
    return split(build, value, [1] * count, 0)


def _sequence(runs: list[list[ir.Value]], found: Recurrence, build: Builder) -> ir.Value:
    """``(T, D, B, H)``, or ``(B, T, D, H)``."""
    parts = [unsqueeze(build, _join(run, 0, build), 1) for run in runs]
    joined = _join(parts, 1, build)
    return build.op("Transpose", joined, perm=(2, 0, 1, 3)) if found.batch_first else joined


def _states(parts: list[ir.Value | None], found: Recurrence, build: Builder) -> ir.Value:
    """``(D, B, H)``, or ``(B, D, H)``."""
    joined = _join([part for part in parts if part is not None], 0, build)
    return build.op("Transpose", joined, perm=(1, 0, 2)) if found.batch_first else joined


def _join(values: list[ir.Value], axis: int, build: Builder) -> ir.Value:
    """A tree of Concats."""
    while len(values) > 1:
        groups = [values[i : i + PARTS] for i in range(0, len(values), PARTS)]
        values = [group[0] if len(group) == 1 else build.op("Concat", *group, axis=axis) for group in groups]
    return values[0]
