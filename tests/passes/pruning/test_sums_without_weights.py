"""Products of values that are summed over: channels go only if zeros stay zeros from the weights to the product.

Here the five steps are the channels: a weight makes them, then something happens to each, then they are summed over in a
product of the result with itself. What happens may add to a step what is there whether the step is zero or not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.pruning.both_ways import TOLERANCE, difference, masked, removed, run
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import NOT_ZERO, AxisGraph
from tamis.passes.pruning.coupling import rules
from tests.models import Array, model, random
from tests.passes.pruning.planted_rules import OffsetsForScales, Unshifted, distorted

S, T = random(4, seed=4), random(4, seed=5)
POSITIVE = np.abs(random(4, seed=6)) + 1

STAY: Mapping[str, tuple[str, Mapping[str, Array]]] = {
    "Relu": ("b = Relu (a)", {}),
    "Mul": ("b = Mul (a, s)", {"s": S}),
    "Add of each step": ("b = Add (a, s)", {"s": random(5, 1, seed=4)}),
    "a product": ("b = MatMul (a, s)", {"s": random(4, 4)}),
    "Pad with zeros": ("b = Pad (a, s)", {"s": np.array([0, 0, 1, 0, 0, 0])}),
    "LayerNormalization": ("b = LayerNormalization (a, s)", {"s": S}),
    "Expand": (
        "c = Unsqueeze (a, i) d = Expand (c, e) b = ReduceMax <axes = [1], keepdims = 0> (d)",
        {"i": np.array([1]), "e": np.array([1, 3, 1, 1])},
    ),
}
SHIFTS: Mapping[str, tuple[str, Mapping[str, Array]]] = {
    "Sigmoid": ("b = Sigmoid (a)", {}),
    "Clip": ("b = Clip (a, s, t)", {"s": np.array(0.1, np.float32), "t": np.array(1, np.float32)}),
    "Add to each step": ("b = Add (a, s)", {"s": S}),
    "Max": ("b = Max (a, s)", {"s": S}),
    "Softmax": ("b = Softmax <axis = 2> (a)", {}),
    "Pad with ones": ("b = Pad (a, s, t)", {"s": np.array([0, 0, 1, 0, 0, 0]), "t": np.array(1, np.float32)}),
    "Concat": ("b = Concat <axis = 2> (a, s)", {"s": random(2, 5, 1, seed=5)}),
    "LayerNormalization": ("b = LayerNormalization (a, s, t)", {"s": S, "t": T}),
    "BatchNormalization": (
        "c = Transpose <perm = [0, 2, 1]> (a) d = BatchNormalization (c, s, t, t, p) b = Transpose <perm = [0, 2, 1]> (d)",
        {"s": S, "t": T, "p": POSITIVE},
    ),
    "InstanceNormalization": (
        "c = Transpose <perm = [1, 2, 0]> (a) d = InstanceNormalization (c, s, t) b = Transpose <perm = [2, 0, 1]> (d)",
        {"s": S, "t": T},
    ),
    "Conv": (
        "c = Transpose <perm = [1, 2, 0]> (a) d = Conv (c, s, t) b = Transpose <perm = [2, 0, 1]> (d)",
        {"s": random(4, 4, 1, seed=4), "t": T},
    ),
    "a constant of each step": (
        "c = ReduceMax <axes = [1]> (x) d = MatMul (c, s) e = Mul (d, t) b = Add (a, e)",
        {"s": random(4, 4), "t": random(5, 1, seed=5)},
    ),
}
FEEDS = {"x": random(2, 7, 4, seed=3)}


def made(nodes: str, weights: Mapping[str, Array]) -> ir.Model:
    """Weights, ``nodes`` from a to b, and a product that sums over the steps."""
    text = f"g (float[2,7,4] x) => (float[N,K,M] y) {{ a = MatMul (M, x) {nodes} r = Transpose <perm = [0, 2, 1]> (b) y = MatMul (r, b) }}"
    found = model(text, 17, M=random(5, 7), **weights)
    Canonicalize()(found)
    return found


def error(found: ir.Model) -> float:
    """How far removed is from masked, for two steps of the only group."""
    assert len(AxisGraph(found).groups) == 1
    chosen = {0: np.array([1, 3])}
    return difference(run(removed(found, chosen), FEEDS), run(masked(found, chosen), FEEDS))


@pytest.mark.parametrize("name", sorted(STAY))
def test_zeros_that_stay_zeros_are_summed_over(name: str) -> None:
    found = made(*STAY[name])
    assert [(g.units, g.contracted) for g in AxisGraph(found).groups] == [(5, True)]
    assert error(found) < TOLERANCE


@pytest.mark.parametrize("name", sorted(SHIFTS))
def test_what_is_added_to_zeros_freezes(name: str) -> None:
    graph = AxisGraph(made(*SHIFTS[name]))
    assert not graph.groups
    assert NOT_ZERO in {reason for f in graph.frozen for reason in f.reasons}


@pytest.mark.parametrize(
    ("op_type", "name"), [("Sigmoid", "Sigmoid"), ("Softmax", "Softmax"), ("Pad", "Pad with ones"), ("Max", "Max")]
)
def test_a_rule_that_forgets_it_is_caught(op_type: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules._table(), op_type, distorted(rules._table()[op_type], Unshifted))
    assert error(made(*SHIFTS[name])) > TOLERANCE


def test_an_offset_that_is_taken_for_a_scale_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules._table(), "Add", distorted(rules._table()["Add"], OffsetsForScales))
    assert error(made(*STAY["Add of each step"])) > TOLERANCE
