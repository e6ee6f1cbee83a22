"""Losses of units against least squares with the rows gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tamis.passes.pruning.importance.sweep import Layer, restricted_inverse, sweep

Array = np.ndarray[Any, np.dtype[Any]]


class Case:
    """A layer on correlated data, and what is left of its error after a refit of the rows that stay."""

    def __init__(self, units: int, each: int, others: int, outputs: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        length = units * each + others
        x = rng.normal(size=(400, length)) @ rng.normal(size=(length, length))
        self.x = x - x.mean(axis=0)
        self.w = rng.normal(size=(length, outputs))
        self.rows = rng.permutation(length)[: units * each].reshape(units, each)

    def layer(self, dtype: Any = np.float64) -> Layer:
        h = (self.x.T @ self.x / len(self.x)).astype(dtype)
        rows = self.rows.ravel()
        return Layer(restricted_inverse(h, rows), self.w[rows], len(self.rows))

    def error(self, gone: Array) -> float:
        """Least squares, without a formula for the increase."""
        keep = np.setdiff1d(np.arange(self.x.shape[1]), self.rows[gone].ravel())
        y = self.x @ self.w
        refit, *_ = np.linalg.lstsq(self.x[:, keep], y, rcond=None)
        return float(((y - self.x[:, keep] @ refit) ** 2).sum() / len(self.x))


CASES = [Case(9, 1, 0, 4), Case(7, 1, 5, 30, seed=1), Case(6, 3, 2, 4, seed=2)]


@pytest.mark.parametrize("case", CASES)
def test_scores_are_the_error_of_a_refit(case: Case) -> None:
    wanted = [case.error(np.array([unit])) for unit in range(len(case.rows))]
    np.testing.assert_allclose(case.layer().scores(), wanted, rtol=1e-7)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("block", [1, 2, 4, 100])
def test_losses_are_errors_along_the_order(case: Case, block: int) -> None:
    units = len(case.rows)
    curve = sweep([case.layer()], np.zeros(units), block)
    assert sorted(curve.order.tolist()) == list(range(units))
    wanted = [case.error(curve.order[:n]) for n in range(units + 1)]
    np.testing.assert_allclose(curve.loss, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_blocks_of_one_are_greedy(case: Case) -> None:
    gone: list[int] = []
    while len(gone) < len(case.rows):
        left = [unit for unit in range(len(case.rows)) if unit not in gone]
        gone.append(min(left, key=lambda unit: case.error(np.array([*gone, unit]))))
    assert sweep([case.layer()], np.zeros(len(case.rows)), 1).order.tolist() == gone


def test_layers_and_fixed_losses_add_up() -> None:
    first, second = Case(6, 1, 0, 4), Case(6, 2, 1, 3, seed=1)
    fixed = np.arange(6.0) * 100
    curve = sweep([first.layer(), second.layer()], fixed, 2)
    for n in range(7):
        gone = curve.order[:n]
        wanted = first.error(gone) + second.error(gone) + fixed[gone].sum()
        np.testing.assert_allclose(curve.loss[n], wanted, rtol=1e-7, atol=1e-9)


def test_float32_gives_the_same_curve() -> None:
    case = Case(24, 2, 3, 5, seed=3)
    case.x += np.random.default_rng(0).normal(size=case.x.shape) * 3  # as well conditioned as a ridge makes it
    single, double = (sweep([case.layer(dtype)], np.zeros(24), 4) for dtype in (np.float32, np.float64))
    assert single.order.tolist() == double.order.tolist()
    np.testing.assert_allclose(single.loss, double.loss, rtol=1e-3)


def test_what_rounding_made_indefinite_still_goes() -> None:
    inverse = np.array([[1.0, 1.0 + 1e-9], [1.0 + 1e-9, 1.0]])
    curve = sweep([Layer(inverse, np.ones((2, 1)), 2)], np.zeros(2), 2)
    assert np.isfinite(curve.loss).all() and (np.diff(curve.loss) >= 0).all()


def test_what_is_not_finite_is_told() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="not by rounding"):
        sweep([Layer(np.full((2, 2), np.nan), np.ones((2, 1)), 2)], np.zeros(2), 2)


def test_what_is_not_positive_definite_has_no_inverse() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        restricted_inverse(np.array([[1.0, 2.0], [2.0, 1.0]]), np.arange(2))
