"""Curves that are scaled to what arrives at the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.digest import structure_signature
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.importance.curve import Curve
from tamis.passes.pruning.planning.trials import scaled_by_trials
from tests.models import model, random

SAMPLES = [{"x": random(4, 6, seed=i)} for i in range(24)]


def branches(scale: float) -> ir.Model:
    """Two hidden layers side by side; the second counts ``scale`` at the output."""
    made = model(
        """g (float[4, 6] x) => (float[4, 3] y) {
          a = Gemm(x, w1) b = Relu(a) c = MatMul(b, v1)
          d = Gemm(x, w2) e = Relu(d) f = MatMul(e, v2)
          s = Mul(f, k) t = Add(c, s) y = Neg(t)
        }""",
        w1=random(6, 8, seed=1), v1=random(8, 3, seed=2), w2=random(6, 8, seed=3), v2=random(8, 3, seed=4),
        k=np.asarray(scale, np.float32),
    )  # fmt: skip
    Canonicalize()(made)
    return made


def curve(units: int = 8, step: float = 1.0) -> Curve:
    return Curve(np.arange(units), step * np.arange(units + 1.0))


def losses(scale: float, **steps: float) -> list[Any]:
    """Losses of the two groups after trials, with curves that say the same of both."""
    made = branches(scale)
    graph = AxisGraph(made)
    before = structure_signature(made)
    curves = {group: curve(step=steps.get(f"g{i}", 1.0)) for i, group in enumerate(graph.groups)}
    scaled = scaled_by_trials(made, curves, lambda: SAMPLES, positions=64, seed=0, progress=lambda fraction, note: None)
    assert structure_signature(made) == before
    assert all(np.array_equal(scaled[g].order, curves[g].order) for g in graph.groups)
    return [scaled[group].loss for group in graph.groups]


def test_a_branch_that_counts_little_is_cheap() -> None:
    first, second = losses(0.1)
    assert 20 < first[2] / second[2] < 500  # 100 but for chance
    np.testing.assert_allclose(first, first[1] * np.arange(9))  # the form stays


def test_what_the_curves_said_of_each_other_does_not_count() -> None:
    np.testing.assert_allclose(losses(0.5, g0=10.0), losses(0.5))


def test_a_branch_that_does_not_count_keeps_a_small_loss() -> None:
    first, second = losses(0.0)
    assert 0 < second[2] < 0.01 * first[2]


def test_outputs_that_are_not_finite_change_nothing() -> None:
    first, second = losses(float("inf"))
    assert first.tolist() == second.tolist() == curve().loss.tolist()
