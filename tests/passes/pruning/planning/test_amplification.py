"""What arrives at the outputs of errors at the readers of a group."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.digest import structure_signature
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.planning.amplification import LEAST, amplifications
from tests.models import model, random

SAMPLES = [{"x": random(1, 6, seed=i)} for i in range(8)]


def branches(scale: float) -> ir.Model:
    """Two hidden layers side by side; the second counts ``scale`` at the output."""
    made = model(
        """g (float[1, 6] x) => (float[1, 3] y) {
          a = Gemm(x, w1) b = Relu(a) c = MatMul(b, v1)
          d = Gemm(x, w2) e = Relu(d) f = MatMul(e, v2)
          s = Mul(f, k) y = Add(c, s)
        }""",
        w1=random(6, 8, seed=1), v1=random(8, 3, seed=2), w2=random(6, 8, seed=3), v2=random(8, 3, seed=4),
        k=np.asarray(scale, np.float32),
    )  # fmt: skip
    Canonicalize()(made)
    return made


def found(scale: float) -> list[float]:
    made = branches(scale)
    graph = AxisGraph(made)
    before = structure_signature(made)
    weights = amplifications(made, graph.groups, lambda: SAMPLES, 0, lambda fraction, note: None)
    assert structure_signature(made) == before  # the same weights, by identity
    return [weights[group] for group in graph.groups]


def test_a_branch_that_counts_little_is_cheap() -> None:
    first, second = found(0.1)
    assert np.isclose(first + second, 2)
    assert 20 < first / second < 500  # 100 but for chance


def test_a_branch_that_does_not_count_keeps_a_small_part() -> None:
    first, second = found(0.0)
    assert np.isclose(first, 2) and second == LEAST


def test_outputs_that_are_not_finite_tell_nothing() -> None:
    assert found(float("inf")) == [1.0, 1.0]
