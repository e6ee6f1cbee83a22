"""LSTM, GRU and RNN: what goes together, and the same results taken out and masked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.pruning.both_ways import TOLERANCE, difference, masked, random_units, removed, run
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis import Role, Slot
from tamis.passes.pruning.axes.axis_graph import NOT_ZERO, AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.coupling.recurrent import GATES, STEPS
from tests.models import Array, check, model, random

STEPS_, BATCH, FEATURES, HIDDEN = 5, 2, 6, 4


@dataclass(frozen=True)
class Layer:
    """A recurrent node between a product that makes its input and one that reads its output.

    Args:
        op: Operator.
        both: Whether it goes both ways.
        bias: Whether it has one.
        lengths: Whether the sequences have lengths.
        states: At the start: none, "constant", or "computed".
        peepholes: Whether it has them.
        attributes: More of them.
        tail: What is read: "y" all states, "h" the last one, "scores" products of states with each other.
    """

    op: str
    both: bool = False
    bias: bool = True
    lengths: bool = False
    states: str = ""
    peepholes: bool = False
    attributes: str = ""
    tail: str = "y"

    def model(self) -> ir.Model:
        d, gates = 1 + self.both, GATES[self.op]
        weights: dict[str, Array] = {
            "I": random(3, FEATURES),
            "W": random(d, gates * HIDDEN, FEATURES, seed=1) / 2,
            "R": random(d, gates * HIDDEN, HIDDEN, seed=2) / 2,
            "O": random(HIDDEN, 3, seed=3),
        }
        names = ["x", "W", "R", "", "", "", "", ""]
        lines = ["x = MatMul (z, I)"]
        if self.bias:
            names[3], weights["B"] = "B", random(d, 2 * gates * HIDDEN, seed=4)
        if self.lengths:
            names[4], weights["lengths"] = "lengths", np.array([5, 3], np.int32)
        if self.states:
            names[5], weights["H"] = "H", random(d, BATCH, HIDDEN, seed=5)
        if self.states == "computed":
            weights["S"] = random(3, HIDDEN, seed=6)
            lines.append("H0 = MatMul (s, S)")
            names[5] = "H0"
            del weights["H"]
        if self.peepholes:
            names[7], weights["P"] = "P", random(d, 3 * HIDDEN, seed=7)
        while not names[-1]:
            names.pop()
        direction = "bidirectional" if self.both else "forward"
        lines.append(
            f'Y, Yh = {self.op} <hidden_size = {HIDDEN}, direction = "{direction}"{self.attributes}> ({", ".join(names)})'
        )
        if self.tail == "scores":
            lines += ["t = Transpose <perm = [0, 1, 3, 2]> (Y)", "y = MatMul (Y, t)"]
            shape, _ = [STEPS_, d, BATCH, BATCH], weights.pop("O")
        else:
            lines.append(f"y = MatMul ({'Yh' if self.tail == 'h' else 'Y'}, O)")
            shape = [d, BATCH, 3] if self.tail == "h" else [STEPS_, d, BATCH, 3]
        given = f", float[{d},{BATCH},3] s" if self.states == "computed" else ""
        head = f"g (float[{STEPS_},{BATCH},3] z{given}) => (float[{','.join(map(str, shape))}] y)"
        found = model(f"{head} {{ {' '.join(lines)} }}", **weights)
        Canonicalize()(found)
        return found


def feeds(found: ir.Model) -> dict[str, Array]:
    return {str(v.name): random(*v.shape.numpy(), seed=9) for v in found.graph.inputs if v.shape is not None}


def hold(found: ir.Model) -> None:
    """Removed equals masked, and masked differs from the model, for each group and for all of them."""
    graph = AxisGraph(found)
    for groups in (*([i] for i in range(len(graph.groups))), range(len(graph.groups))):
        chosen = random_units(graph, np.random.default_rng(len(groups)), groups)
        without = removed(found, chosen)
        check(without)
        wanted = run(masked(found, chosen), feeds(found))
        assert difference(run(without, feeds(found)), wanted) < TOLERANCE
        assert difference(run(found, feeds(found)), wanted) > 100 * TOLERANCE


LAYERS = {
    **{f"{op} {'both ways' if both else 'forward'}": Layer(op, both) for op in GATES for both in (False, True)},
    "no bias": Layer("LSTM", bias=False),
    "lengths": Layer("LSTM", both=True, lengths=True),
    "constant states": Layer("GRU", states="constant"),
    "computed states": Layer("LSTM", both=True, states="computed"),
    "peepholes": Layer("LSTM", both=True, peepholes=True),
    "reset after the product": Layer("GRU", both=True, attributes=", linear_before_reset = 1"),
    "last state": Layer("LSTM", tail="h"),
    "last states": Layer("GRU", both=True, tail="h"),
    "scores": Layer("LSTM", tail="scores"),
    "scores, states": Layer("GRU", both=True, states="constant", tail="scores"),
    "scores, Relu": Layer("RNN", tail="scores", attributes=', activations = ["Relu"]'),
}


@pytest.mark.parametrize("name", LAYERS)
def test_hidden_units_and_features_go(name: str) -> None:
    found = LAYERS[name].model()
    graph = AxisGraph(found)
    assert sorted(g.units for g in graph.groups) == [HIDDEN, FEATURES]
    hold(found)
    hidden = next(g for g in graph.groups if g.units == HIDDEN)
    assert hidden.contracted == (LAYERS[name].tail == "scores")


def positions(group: Group) -> dict[tuple[str, int], list[list[int]]]:
    """(Constant, axis) -> positions of each unit."""
    return {
        (str(m.axis.tensor.value.name), m.axis.index): m.positions.tolist()
        for m in group.members
        if isinstance(m.axis.tensor, Slot)
    }


def test_a_hidden_unit_is_a_row_of_each_gate_and_a_column() -> None:
    graph = AxisGraph(Layer("LSTM", both=True, peepholes=True).model())
    hidden = next(g for g in graph.groups if g.units == HIDDEN)
    found = positions(hidden)
    for unit in range(HIDDEN):
        assert found["W", 1][unit] == found["R", 1][unit] == [unit, 4 + unit, 8 + unit, 12 + unit]
        assert found["B", 1][unit] == [4 * block + unit for block in range(8)]
        assert found["P", 1][unit] == [unit, 4 + unit, 8 + unit]
        assert found["R", 2][unit] == found["O", 0][unit] == [unit]
    roles = {
        (m.axis.tensor.value.name, m.axis.index): m.role for m in hidden.members if isinstance(m.axis.tensor, Slot)
    }
    assert roles["W", 1] is roles["R", 1] is Role.PRODUCE
    assert roles["R", 2] is roles["O", 0] is Role.CONSUME
    assert roles["B", 1] is Role.OFFSET


def test_the_attribute_follows() -> None:
    found = Layer("GRU", both=True).model()
    graph = AxisGraph(found)
    number = next(i for i, g in enumerate(graph.groups) if g.units == HIDDEN)
    without = removed(found, {number: np.array([1, 2])})
    node = next(n for n in without.graph if n.op_type == "GRU")
    assert node.attributes.get_int("hidden_size") == 2
    assert node.inputs[2] is not None and node.inputs[2].shape == ir.Shape([2, 6, 2])


@pytest.mark.parametrize(
    "layer",
    [
        Layer("RNN", attributes=', activations = ["Sigmoid"]'),
        Layer("GRU", attributes=', activations = ["Tanh", "Sigmoid"]'),
    ],
)
def test_units_that_do_not_stay_at_zero_are_not_contracted(layer: Layer) -> None:
    assert sorted(g.units for g in AxisGraph(layer.model()).groups) == [HIDDEN, FEATURES]
    hold(layer.model())
    graph = AxisGraph(replace(layer, tail="scores").model())
    assert [g.units for g in graph.groups] == [FEATURES]
    assert any(NOT_ZERO in f.reasons for f in graph.frozen)


def test_steps_cannot_go() -> None:
    """Here the steps are made by weights: each reads the one before."""
    found = model(
        f"g (float[7,{BATCH},3] z) => (float[2,1,{BATCH},4] y) {{ "
        'a = Einsum <equation = "ts,sbf->tbf"> (M, z) b = LSTM <hidden_size = 4> (a, W, R) '
        'y = Einsum <equation = "ut,tdbh->udbh"> (N, b) }',
        M=random(5, 7),
        N=random(2, 5),
        W=random(1, 16, 3),
        R=random(1, 16, 4),
    )
    Canonicalize()(found)
    graph = AxisGraph(found)
    assert not graph.groups
    assert STEPS in graph.frozen[0].reasons


@pytest.mark.parametrize("what", ["layout", "weights"])
def test_what_is_left_alone(what: str) -> None:
    layout = ", layout = 1" if what == "layout" else ""
    given = ", float[1,16,3] W" if what == "weights" else ""
    weights = {"R": random(1, 16, 4), "I": random(3, 3), "O": random(4, 2)} | ({} if given else {"W": random(1, 16, 3)})
    found = model(
        f"g (float[5,2,3] z{given}) => (float[{'5,2,1' if layout else '5,1,2'},2] y) {{ x = MatMul (z, I) "
        f"b = LSTM <hidden_size = 4{layout}> (x, W, R) y = MatMul (b, O) }}",
        **weights,
    )
    Canonicalize()(found)
    graph = AxisGraph(found)
    assert not graph.groups
    assert any("LSTM with" in reason for f in graph.frozen for reason in f.reasons)
