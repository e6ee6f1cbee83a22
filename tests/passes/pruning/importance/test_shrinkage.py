"""A covariance of few samples is drawn to the identity as far as helps, one of many is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tamis.passes.layer_inputs.gram import Gram
from tamis.passes.pruning.importance.moments import Moments
from tamis.passes.pruning.importance.shrinkage import MOST, shrinkage, squared_norm

Array = np.ndarray[Any, np.dtype[Any]]
SIZE = 60
SCALES = np.linspace(0.5, 2, SIZE)


def rows_of(count: int, seed: int = 0) -> Array:
    """Independent rows about a mean that is not zero."""
    return (np.random.default_rng(seed).normal(size=(count, SIZE)) * SCALES + 3).astype(np.float32)


def streamed(samples: list[Array]) -> Moments:
    moments = Moments(Gram(np.zeros((1, SIZE, SIZE), np.float32), np.zeros((1, SIZE))))
    for rows in samples:
        moments.add(rows)
    return moments


def found_by(moments: Moments) -> tuple[float, Array]:
    covariance = moments.covariance()
    assert covariance is not None
    return moments.shrinkage(covariance), covariance


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("rows", [10, 40, 200])
def test_brings_a_sample_nearer_to_the_truth(rows: int, split: bool) -> None:
    """Rows one by one, and all of them as a single sample; the means that are not known yet cost some of it."""
    x = rows_of(rows)
    r, found = found_by(streamed([row[None] for row in x] if split else [x]))
    identity, truth = np.trace(found) / SIZE * np.eye(SIZE), np.diag(SCALES**2)
    errors = [float(np.linalg.norm((1 - s) * found + s * identity - truth)) for s in (r, *np.linspace(0, 1, 101))]
    assert errors[0] < 0.8 * errors[1]
    assert errors[0] < 1.5 * min(errors)


def test_rows_that_repeat_are_no_more_samples() -> None:
    x = rows_of(40)
    once, often = (found_by(streamed([np.repeat(row[None], times, axis=0) for row in x])) for times in (1, 50))
    assert often[0] == pytest.approx(once[0], rel=0.05)
    assert often[0] > 5 * found_by(streamed(np.split(rows_of(2000, seed=1), 40)))[0]


def test_limits() -> None:
    covariance = np.diag([1.0, 2.0, 3.0])
    assert shrinkage(covariance, 1e3, 10**9) < 1e-6
    assert shrinkage(covariance, 1e3, 1) == shrinkage(covariance, 1e9, 10) == MOST
    assert shrinkage(covariance, 1.0, 10) == 0
    assert shrinkage(np.zeros((3, 3)), 0.0, 100) == 0


@pytest.mark.parametrize("shape", [(3, 8), (8, 3)])
def test_norm_of_second_moments(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    assert squared_norm(x) == pytest.approx(float(np.linalg.norm(x.T @ x / len(x))) ** 2)
