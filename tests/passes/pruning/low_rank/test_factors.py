"""Factors of layers on plain arrays: exact at full rank, the nearest in output below it."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.pruning.low_rank.factors import Array, BothSplit, Factors, OutputSplit, Positions, energy_gains
from tamis.passes.pruning.low_rank.moments import Moments, without_samples
from tamis.passes.pruning.low_rank.ranks import RankRule

POSITIONS = Positions(64, 64)
ALL = RankRule(1.0, multiple=4)


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def anisotropic(rows: int, seed: int = 5) -> Moments:
    """Of inputs most of whose variance lies in a few directions."""
    turned = np.linalg.qr(numbers(rows, rows, seed=seed))[0]
    second = (turned * np.geomspace(100, 0.01, rows)) @ turned.T
    return Moments(second, numbers(rows, seed=seed + 1), second)


def lost(moments: Moments, weight: Array, other: Array) -> float:
    return moments.energy(weight - other) / moments.energy(weight)


def whole(factors: Factors, kernel: int = 1) -> Array:
    """The matrix that the layers multiply with together."""
    product = factors.core.astype(np.float64) @ factors.last
    if factors.inner is None:
        return product
    parts = product.reshape(kernel, factors.inner.shape[1], -1)
    return (factors.inner.astype(np.float64) @ parts).reshape(kernel * len(factors.inner), -1)


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (16, 16)])
@pytest.mark.parametrize("moments", [without_samples, anisotropic])
def test_full_rank_is_exact(shape: tuple[int, int], moments: type) -> None:
    weight = numbers(*shape)
    factors = OutputSplit(weight, moments(shape[0])).at(ALL)
    assert factors.ranks == (min(shape),)
    np.testing.assert_allclose(whole(factors), weight, atol=1e-6 * np.abs(weight).max())
    assert factors.error < 1e-12


@pytest.mark.parametrize("moments", [without_samples, anisotropic])
def test_tucker_with_full_ranks_is_exact(moments: type) -> None:
    weight = numbers(9 * 8, 12)
    factors = BothSplit(weight, 9, moments(72), POSITIONS).at(ALL)
    assert factors.ranks == (8, 12)
    np.testing.assert_allclose(whole(factors, 9), weight, atol=2e-6 * np.abs(weight).max())


def test_without_samples_it_is_the_singular_value_decomposition() -> None:
    weight = numbers(20, 12)
    u, s, vt = np.linalg.svd(weight, full_matrices=False)
    factors = OutputSplit(weight, without_samples(20)).at(RankRule(1.0, 4.2 * 32 / 240, 4))
    assert factors.ranks == (4,)
    np.testing.assert_allclose(whole(factors), (u[:, :4] * s[:4]) @ vt[:4], atol=1e-6)
    assert factors.error == pytest.approx((s[4:] ** 2).sum() / (s**2).sum())


def test_moments_of_the_input_beat_those_of_nothing() -> None:
    weight, moments = numbers(32, 32), anisotropic(32)
    rule = RankRule(1.0, 0.5, 8)
    informed, plain = (OutputSplit(weight, m).at(rule) for m in (moments, without_samples(32)))
    assert informed.ranks == plain.ranks == (8,)
    assert lost(moments, weight, whole(informed)) < 0.5 * lost(moments, weight, whole(plain))
    # nothing of that rank is nearer: the bound of Eckart, Young and Mirsky in the whitened space
    values = np.linalg.svd(np.linalg.cholesky(moments.second).T @ weight, compute_uv=False)
    assert informed.error == pytest.approx((values[8:] ** 2).sum() / (values**2).sum())


def test_tucker_is_fitted_to_what_its_first_layer_leaves() -> None:
    alike = 0.3 * np.eye(9) + 0.7  # neighbours in the window
    second: Array = np.kron(alike, anisotropic(16).second).astype(np.float64)
    weight, moments = numbers(9 * 16, 24), Moments(second, np.zeros(9 * 16), second)
    factors = BothSplit(weight, 9, moments, POSITIONS).at(RankRule(0.9, None, 4))
    assert factors.inner is not None and factors.inner.shape[1] < 16
    assert factors.error == pytest.approx(lost(moments, weight, whole(factors, 9)), rel=1e-4)
    # no change of the kernel and of what follows, the first layer as it is, can lower the error
    spread = np.kron(np.eye(9), factors.inner.astype(np.float64))
    best = np.linalg.lstsq(
        np.linalg.cholesky(moments.second).T @ spread, np.linalg.cholesky(moments.second).T @ weight, rcond=None
    )[0]
    least = lost(moments, weight, spread @ best)
    values = np.linalg.svd(np.linalg.cholesky(moments.second).T @ spread @ best, compute_uv=False)
    rank = factors.core.shape[1]
    tail = (values[rank:] ** 2).sum() / moments.energy(weight)
    assert factors.error == pytest.approx(least + tail, rel=1e-4)


def test_gains_add_up_to_what_the_error_falls_by() -> None:
    weight, fitted, moments = numbers(20, 8), numbers(20, 8, seed=1), anisotropic(20)
    vectors = np.linalg.qr(numbers(8, 8, seed=2))[0]
    left = moments.energy(weight) - np.cumsum(energy_gains(weight, fitted, moments, vectors))
    for rank in range(1, 9):
        kept = vectors[:, :rank]
        assert left[rank - 1] == pytest.approx(moments.energy(weight - fitted @ kept @ kept.T))


@pytest.mark.parametrize("energy", [0.6, 0.8, 0.9])
def test_tucker_is_judged_by_other_samples(energy: float) -> None:
    weight = numbers(9 * 8, 24) * np.geomspace(1, 0.05, 24)
    moments = Moments(anisotropic(72).second, np.zeros(72), anisotropic(72, seed=6).judged + np.eye(72))
    split = BothSplit(weight, 9, moments, POSITIONS)
    factors = split.at(RankRule(energy, None, 1))
    assert factors.inner is not None
    assert factors.error == pytest.approx(lost(moments, weight, whole(factors, 9)), rel=1e-4)
    assert 1 - factors.error >= energy
    fewer = Factors(factors.core[:, :-1], factors.last[:-1], factors.inner, factors.shift, 0.0)
    assert 1 - lost(moments, weight, whole(fewer, 9)) < energy


def test_shift_keeps_the_mean_of_the_output() -> None:
    weight, moments = numbers(16, 16), anisotropic(16)
    factors = OutputSplit(weight, moments).at(RankRule(0.8, None, 4))
    assert factors.error > 0
    np.testing.assert_allclose(whole(factors).T @ moments.mean + factors.shift, weight.T @ moments.mean, atol=1e-5)


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
def test_energy_is_kept_with_the_least_multiple(energy: float) -> None:
    weight = numbers(40, 40) * np.geomspace(1, 0.01, 40)
    split = OutputSplit(weight, without_samples(40))
    factors = split.at(RankRule(energy, None, 4))
    (rank,) = factors.ranks
    assert rank % 4 == 0 and 1 - factors.error >= energy
    if rank > 4:
        values = np.linalg.svd(weight, compute_uv=False) ** 2
        assert values[: rank - 4].sum() / values.sum() < energy


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_ratio_is_kept_by_both_forms(ratio: float) -> None:
    weight = numbers(9 * 32, 48)
    positions = Positions(400, 100)
    for split in (OutputSplit(weight, without_samples(288)), BothSplit(weight, 9, without_samples(288), positions)):
        factors = split.at(RankRule(1.0, ratio, 4))
        assert 0.5 * ratio < factors.macs(400, 100) / (100 * weight.size) <= ratio
        assert all(rank % 4 == 0 for rank in factors.ranks)


def test_a_weight_of_zeros_has_factors() -> None:
    factors = OutputSplit(np.zeros((16, 16)), without_samples(16)).at(RankRule(0.9, None, 4))
    assert factors.error == 0.0 and not whole(factors).any()
