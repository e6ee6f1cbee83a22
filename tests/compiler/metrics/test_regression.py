"""iou, pearson-similarity and mean-squared-error against the plain definitions."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from tamis.compiler.errors import DataError
from tamis.compiler.metrics.regression import Iou, MeanSquaredError, PearsonSimilarity


def floats(data: Any) -> np.ndarray[Any, Any]:
    """A float32 array."""
    return np.array(data, np.float32)


def test_iou_is_over_all_pixels_of_all_samples() -> None:
    metric = Iou()
    metric.update({"y": floats([[0.31, 0.3, 0.9, 0.0]])}, np.array([1, 1, 0, 0]))
    metric.update({"y": floats([[0.9, 0.9]])}, np.array([True, True]))
    assert metric.result() == 3 / 5


def test_iou_counts_nan_as_the_opposite_of_its_label() -> None:
    metric = Iou()
    metric.update({"y": floats([[0.9, np.nan, np.nan]])}, np.array([1, 0, 1]))
    assert metric.result() == 1 / 3


def test_iou_without_positives() -> None:
    metric = Iou()
    metric.update({"y": floats([[0.0]])}, np.array([0]))
    with pytest.raises(DataError, match="at least one positive pixel"):
        metric.result()


def similarity(
    embeddings: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    human: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> float:
    metric = PearsonSimilarity()
    for embedding, row in zip(embeddings, human, strict=True):
        metric.update({"y": embedding[None].astype(np.float32)}, row)
    return metric.result()


def test_pearson_is_that_of_the_upper_triangle() -> None:
    rng = np.random.default_rng(0)
    embeddings, human = rng.normal(size=(6, 4)), rng.uniform(size=(6, 6))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    upper = np.triu_indices(6, 1)
    wanted = np.corrcoef((unit @ unit.T)[upper], human[upper])[0, 1]
    assert similarity(embeddings, human) == pytest.approx(wanted, abs=1e-6)
    wider = np.concatenate([human, rng.uniform(size=(6, 3))], axis=1)
    assert similarity(embeddings, wider) == pytest.approx(wanted, abs=1e-6)


def test_embeddings_of_one_direction_agree_with_nobody() -> None:
    rng = np.random.default_rng(0)
    assert similarity(np.outer(np.arange(1, 5), np.ones(8)), rng.uniform(size=(4, 4))) == 0


@pytest.mark.parametrize(
    ("embeddings", "human", "message"),
    [
        (np.eye(2), np.eye(2), "expected at least 3 samples"),
        (np.eye(3), np.eye(3)[:, :2], "labels are too short; expected 3 similarities a sample, found 2"),
        (np.eye(3), np.ones((3, 3)), "similarities that are not all the same"),
    ],
)
def test_pearson_that_cannot_be_computed(
    embeddings: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    human: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    message: str,
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        similarity(embeddings, human)


def test_embeddings_of_different_lengths() -> None:
    metric = PearsonSimilarity()
    metric.update({"y": np.zeros((1, 3))}, np.zeros(3))
    with pytest.raises(DataError, match="embeddings of different lengths; found 3 and 4"):
        metric.update({"y": np.zeros((1, 4))}, np.zeros(3))


def test_the_mean_squared_error_is_over_all_values() -> None:
    metric = MeanSquaredError()
    metric.update({"y": floats([[1, 2, 3]])}, np.array([1, 2, 6]))
    metric.update({"y": floats([5])}, np.array([4.0]))
    assert metric.result() == pytest.approx(10 / 4)
    metric.update({"y": floats([np.nan])}, np.array([4.0]))
    assert metric.result() == math.inf
