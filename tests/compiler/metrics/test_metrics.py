"""What every metric does: by name, from nothing, on NaN, on labels that do not fit."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from tamis.compiler import registry
from tamis.compiler.errors import DataError, RegistryError
from tamis.compiler.metrics import get_metric

NAMES = sorted(registry.TABLE["metrics"])
Case = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def floats(data: Any) -> np.ndarray[Any, Any]:
    """A float32 array."""
    return np.array(data, np.float32)


SAMPLES: dict[str, list[Case]] = {
    "accuracy": [(floats([[0, 2, 1]]), np.array(1)), (floats([[3, 2, 1]]), np.array(0))],
    "top5": [(floats([[0, 2, 1]]), np.array(1)), (floats([[3, 2, 1]]), np.array(0))],
    "roc-auc": [(floats([[0.1, 0.9]]), np.array([[0, 1]])), (floats([[0.2, 0.8]]), np.array([[0, 1]]))],
    "char-accuracy": [(np.eye(4, dtype=np.float32)[None, [1, 2, 3]], np.array([1, 2, 3, -1]))] * 2,
    "iou": [(floats([[[[0.9, 0.1]]]]), np.array([[[[1, 0]]]]))] * 2,
    "pearson-similarity": [
        (floats([[1, 0]]), floats([1, 0.9, 0])),
        (floats([[0.9, 0.436]]), floats([0.9, 1, 0.436])),
        (floats([[0, 1]]), floats([0, 0.436, 1])),
    ],
    "mean-squared-error": [(floats([[1, 2]]), floats([1, 2]))] * 2,
}
"""Samples that each metric finds perfect."""


def score(name: str, cases: list[Case]) -> float:
    metric = get_metric(name)
    for output, labels in cases:
        metric.update({"y": output, "other": np.zeros(3)}, labels)
    return metric.result()


def test_every_metric_is_tried_here() -> None:
    assert sorted(SAMPLES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_name_gives_a_new_instance(name: str) -> None:
    metric = get_metric(name)
    assert metric.name == name
    assert get_metric(name) is not metric
    assert get_metric(name).higher_is_better is (name != "mean-squared-error")


def test_an_unknown_metric() -> None:
    with pytest.raises(RegistryError, match=re.escape("there is no metric 'acuracy' (did you mean 'accuracy'?)")):
        get_metric("acuracy")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_perfect(name: str) -> None:
    assert score(name, SAMPLES[name]) == pytest.approx(0 if name == "mean-squared-error" else 1, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_and_bfloat16_outputs(name: str) -> None:
    import ml_dtypes

    for dtype in (np.float16, ml_dtypes.bfloat16):
        cases = [(output.astype(dtype), labels) for output, labels in SAMPLES[name]]
        assert score(name, cases) == pytest.approx(0 if name == "mean-squared-error" else 1, abs=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_nan_counts_as_wrong(name: str) -> None:
    cases = [(np.full_like(output, np.nan), labels) for output, labels in SAMPLES[name]]
    assert score(name, cases) == (math.inf if name == "mean-squared-error" else 0)
    one = [(np.full_like(SAMPLES[name][0][0], np.nan), SAMPLES[name][0][1]), *SAMPLES[name][1:]]
    worse = score(name, one)
    assert worse == math.inf if name == "mean-squared-error" else worse < 0.95


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [np.inf, -np.inf, 3e38])
def test_extreme_outputs_give_a_number(name: str, number: float) -> None:
    cases = [(np.full_like(output, number), labels) for output, labels in SAMPLES[name]]
    assert not math.isnan(score(name, cases))


@pytest.mark.parametrize("name", NAMES)
def test_a_result_over_nothing(name: str) -> None:
    with pytest.raises(DataError, match=f"metric {name}: there is nothing to compute the metric from"):
        get_metric(name).result()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("output", [np.empty((1, 0), np.float32), np.array([["a"]])])
def test_outputs_that_are_no_scores(name: str, output: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError, match=f"metric {name}: output 'y' does not fit"):
        get_metric(name).update({"y": output}, np.array([0]))
    with pytest.raises(DataError, match=f"metric {name}: the model has no outputs"):
        get_metric(name).update({}, np.array([0]))


BAD = [
    (
        "accuracy",
        np.zeros((1, 3)),
        np.array(3),
        "labels out of range; expected classes from 0 to 2, or -1, found 3 to 3",
    ),
    ("accuracy", np.zeros((1, 3)), np.array(-2), "labels out of range"),
    ("accuracy", np.zeros((1, 3)), np.array(0.5), "labels must be whole numbers; found [0.5]"),
    ("accuracy", np.zeros((1, 4, 3)), np.array([0, 1]), "expected 4 labels for output [4], found [2]"),
    ("accuracy", np.zeros(()), np.array(0), "expected numbers with at least 1 dimensions"),
    ("top5", np.zeros((1, 3)), np.array(3), "metric top5: labels out of range"),
    (
        "roc-auc",
        np.zeros((1, 3)),
        np.array([0, 1]),
        "labels do not fit the output; expected 3 labels for output [1, 3]",
    ),
    ("roc-auc", np.zeros((1, 2)), np.array([0, 2]), "labels out of range; expected -1 or 0 or 1, found 2"),
    ("char-accuracy", np.zeros((1, 3)), np.array([1]), "expected numbers with at least 3 dimensions"),
    ("char-accuracy", np.zeros((2, 3, 4)), np.array([1, 2, 3]), "labels do not fit the output"),
    ("iou", np.zeros((1, 4)), np.zeros(5), "labels do not fit the output"),
    ("iou", np.zeros((1, 2)), np.array([0, 255]), "labels out of range; expected 0 or 1, found 255"),
    ("mean-squared-error", np.zeros((1, 4)), np.zeros(5), "labels do not fit the output"),
]


@pytest.mark.parametrize(("name", "output", "labels", "message"), BAD)
def test_labels_that_do_not_fit(
    name: str, output: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        get_metric(name).update({"y": output}, labels)
    assert caught.value.where == f"metric {name}"
