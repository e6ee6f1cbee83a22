"""Noise and divergence of outputs, on arrays whose answers are known, and on a small model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tamis.compiler.errors import RuntimeFailureError
from tamis.compiler.runnable import load_unoptimized
from tamis.passes.judging.sensitivity import (
    Sensitivity,
    compare,
    divergence,
    draw_samples,
    fewer,
    kinds_of_outputs,
    measure_sensitivities,
    noise_power,
)
from tests import models

Array = np.ndarray[Any, np.dtype[Any]]


def array(*values: float) -> Array:
    return np.asarray(values, np.float32)


def test_noise_is_summed_over_samples_before_it_is_divided() -> None:
    pairs = [(array(3, 4), array(3, 4)), (array(0, 5), array(1, 5))]
    assert noise_power(pairs) == pytest.approx(1 / 50)
    assert Sensitivity(1 / 50).sqnr_db == pytest.approx(16.99, abs=0.01)


def test_noise_at_the_ends() -> None:
    assert noise_power([(array(0), array(0))]) == 0
    assert noise_power([(array(0), array(1))]) == math.inf
    assert noise_power([(array(1), array(np.nan))]) == math.inf
    assert noise_power([(array(1, np.inf), array(1, np.inf))]) == 0
    assert noise_power([(array(1), array(1, 1))]) == math.inf
    assert Sensitivity(0.0).sqnr_db == math.inf


def test_of_integers_the_changed_part_counts() -> None:
    assert noise_power([(np.asarray([1, 2, 3, 4]), np.asarray([1, 2, 3, 5]))]) == 0.25


def test_the_worst_output_counts() -> None:
    wanted, found = {"a": array(1), "b": array(1)}, {"a": array(1), "b": array(2)}
    assert compare([wanted], [found], {}) == Sensitivity(1.0)


def test_divergence_by_hand() -> None:
    p, q = np.asarray([[0.5, 0.5]]), np.asarray([[0.25, 0.75]])
    wanted = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert divergence([(p, q)], "probabilities") == pytest.approx(wanted)
    assert divergence([(np.log(p) + 7, np.log(q) - 3)], "logits") == pytest.approx(wanted)
    assert divergence([(p, p), (p, q)], "probabilities") == pytest.approx(wanted / 2)
    assert divergence([(p, np.full_like(p, np.nan))], "logits") == math.inf


def test_divergence_of_certain_answers_is_finite() -> None:
    assert 20 < divergence([(np.asarray([[1.0, 0.0]]), np.asarray([[0.0, 1.0]]))], "probabilities") < 30


def test_divergence_forgets_what_softmax_forgets() -> None:
    logits = models.random(4, 10)
    assert divergence([(logits, logits + 3)], "logits") == pytest.approx(0, abs=1e-9)
    assert noise_power([(logits, logits + 3)]) > 1


@pytest.mark.parametrize(
    ("graph", "kind"),
    [
        ("g (float[N, 8] x) => (float[N, 5] y) { z = MatMul(x, w) y = Softmax(z) }", "probabilities"),
        ("g (float[N, 8] x) => (float[N, 5] y) { y = MatMul(x, w) }", "logits"),
        ("g (float[N, 8] x) => (float[N, 5] y) { z = MatMul(x, w) y = Add(z, b) }", "logits"),
        ("g (float[N, 8] x) => (float[N, 5] y) { y = Gemm(x, w, b) }", "logits"),
        ("g (float[N, 8] x) => (float[N, 5] y) { z = MatMul(x, w) y = Sigmoid(z) }", None),
        ("g (float[N, 8] x) => (float[N, 1, 5] y) { a = Constant<value_ints=[1]>() z = MatMul(x, w) y = Unsqueeze(z, a) }", None),
    ],
)  # fmt: skip
def test_which_outputs_are_distributions(graph: str, kind: str | None) -> None:
    weights = {"w": models.random(8, 5), "b": models.random(5)}
    used = {name: value for name, value in weights.items() if f", {name}" in graph}
    model = models.model(graph, 17, **used)
    outputs = [load_unoptimized(model)({"x": models.random(3, 8, seed=1)})]
    assert kinds_of_outputs(model, outputs) == ({"y": kind} if kind else {})


def test_one_column_is_no_distribution() -> None:
    model = models.model("g (float[N, 8] x) => (float[N, 1] y) { y = MatMul(x, w) }", 17, w=models.random(8, 1))
    assert kinds_of_outputs(model, [{"y": models.random(3, 1)}]) == {}


class Scaled:
    """A runner that gives its input times a factor."""

    input_names, output_names = ("x",), ("y",)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self.factor == 0:
            raise RuntimeFailureError("no")
        return {"y": feeds["x"] * self.factor}


def test_one_sensitivity_a_variant() -> None:
    samples = [{"x": array(1, 2)}, {"x": array(3, 4)}]
    told: list[float] = []
    variants = [lambda f=f: Scaled(f) for f in (1.1, 1.0, 0.0)]
    found = list(measure_sensitivities(Scaled(1), variants, samples, {}, lambda f, text: told.append(f)))
    assert [s.noise for s in found] == [pytest.approx(0.01, rel=1e-3), 0.0, math.inf]
    assert told == pytest.approx([1 / 3, 2 / 3, 1])


def test_samples_are_drawn_over_all_that_are_looked_at() -> None:
    given = [{"x": array(i)} for i in range(1000)]
    drawn = [int(feeds["x"][0]) for feeds in draw_samples(given, seed=0)]
    assert len(drawn) == 8
    assert drawn == sorted(set(drawn))
    assert 100 < max(drawn) < 256
    assert drawn == [int(feeds["x"][0]) for feeds in draw_samples(given, seed=0)]
    assert drawn != [int(feeds["x"][0]) for feeds in draw_samples(given, seed=1)]
    assert len(draw_samples(given[:3], seed=0)) == 3


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 8), (8.0, 8), (16.0, 4), (10.7, 5), (1000.0, 4)])
def test_large_models_run_on_fewer_samples(seconds: float, count: int) -> None:
    samples = [{"x": np.zeros(1, np.float32)} for _ in range(8)]
    assert len(fewer(samples, seconds)) == count
    assert len(fewer(samples[:2], seconds)) == 2
