"""A layer as two or three thin ones, with the least error of its output.

::

    y = W^T x + b   ->   y = L^T (F^T x) + b + E^T m          E = W - F L,  F = W V,  L = V^T

V are the leading eigenvectors of ``W^T C W``, C the second moments of x about its mean m: of all factors of that rank
these lose the least of the output, and no inverse of C is needed. They are those of the singular value decomposition of
``C^(1/2) W``, and with C = 1 those of W. Both layers are the least-squares fit for each other.

A convolution may be thinned before its kernel as well (Tucker-2): its channels are projected to the leading directions
of ``C_c^(1/2) W_(c)``, with C_c and ``W_(c)`` moments and weight by channel, the kernel is fitted by least squares to
what is left of the input, and then split as above.

*References.* Zhang et al., "Accelerating very deep convolutional networks", 2015 (1505.06798), section 3.1, for the
outputs; Kim et al., "Compression of deep convolutional neural networks", 2015 (1511.06530), for Tucker-2, which has no
data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.passes.pruning.low_rank.moments import Moments
from tamis.passes.pruning.low_rank.ranks import RankRule

Array = np.ndarray[Any, np.dtype[np.float64]]
Single = np.ndarray[Any, np.dtype[np.float32]]
ROUNDING = 1e-6
"""Of errors."""


@dataclass(frozen=True)
class Factors:
    """Matrices of the layers in place of one, float32.

    Args:
        core: ``(K, r)``, or ``(positions * r1, r)`` behind ``inner``; rows over (kernel..., channel).
        last: ``(r, N)``.
        inner: ``(C, r1)``, a product of channels before the kernel; None if there is none.
        shift: ``(N,)``, float64, to be added to the output.
        error: Energy of the output that is lost, as a part of all, on samples that they are not fitted to.
    """

    core: Single
    last: Single
    inner: Single | None
    shift: Array
    error: float

    @property
    def ranks(self) -> tuple[int, ...]:
        """Channels between the layers."""
        return (self.core.shape[1],) if self.inner is None else (self.inner.shape[1], self.core.shape[1])

    def macs(self, before: int, after: int) -> int:
        """Multiplications on ``before`` positions of the input and ``after`` of the output."""
        inner = 0 if self.inner is None else self.inner.size
        return before * inner + after * (self.core.size + self.last.size)


@dataclass(frozen=True)
class Positions:
    """Places that a layer computes at.

    Args:
        before: Of its input.
        after: Of its output.
    """

    before: int
    after: int


class OutputSplit:
    """Ways to split a layer in two.

    Args:
        weight: ``(K, N)``, float64.
        moments: Of its input.
    """

    def __init__(self, weight: Array, moments: Moments) -> None:
        self._weight, self._moments = weight, moments
        self._vectors = _leading(weight.T @ moments.second @ weight)[1]
        self._gains = energy_gains(weight, weight, moments, self._vectors)

    def at(self, rule: RankRule) -> Factors:
        """The two layers of the rank that ``rule`` gives."""
        weight = self._weight
        rows, columns = weight.shape
        most = min(rows, columns)
        if rule.ratio is None:
            rank = rule.by_energy(self._gains, self._moments.energy(weight), most)
        else:
            rank = rule.fitting(rule.ratio * weight.size / (rows + columns), most)
        return _factors(weight, self._moments, None, weight, self._vectors[:, :rank])


class BothSplit:
    """Ways to split a convolution in three.

    Args:
        weight: ``(kernel * C, N)``, float64.
        kernel: Positions of the kernel.
        moments: Of its input.
        positions: That it computes at.
    """

    def __init__(self, weight: Array, kernel: int, moments: Moments, positions: Positions) -> None:
        self._weight, self._kernel, self._moments, self._positions = weight, kernel, moments, positions
        channels, columns = len(weight) // kernel, weight.shape[1]
        by_channel = moments.second.reshape(kernel, channels, kernel, channels).trace(axis1=0, axis2=2) / kernel
        root, self._inverse = _roots(by_channel)
        mode = root @ weight.reshape(kernel, channels, columns).transpose(1, 0, 2).reshape(channels, -1)
        self._energies, self._vectors = _leading(mode @ mode.T)

    def at(self, rule: RankRule) -> Factors:
        """The three layers of the ranks that ``rule`` gives.

        By energy, the projection of channels may lose half of what may be lost; where the kernel cannot make up for that
        on the samples that judge, more channels stay.
        """
        kernel, columns = self._kernel, self._weight.shape[1]
        channels = len(self._inverse)
        most = min(channels, kernel * columns)
        if rule.ratio is not None:
            first, rank = _sizes(rule, kernel, channels, columns, self._positions)
            return self._with(min(first, most), rule, rank)
        first = rule.by_energy(self._energies, float(self._energies.sum()), most, 0.5)
        found = self._with(first, rule)
        while found.error > 1 - rule.energy + ROUNDING and first < most:
            first = min(-(-first * 3 // (2 * rule.multiple)) * rule.multiple, most)
            found = self._with(first, rule)
        return found

    def _with(self, first: int, rule: RankRule, rank: int | None = None) -> Factors:
        weight, kernel, channels = self._weight, self._kernel, len(self._inverse)
        inner = self._inverse @ self._vectors[:, :first]
        seen = np.matmul(inner.T, self._moments.second.reshape(kernel, channels, -1)).reshape(kernel * first, -1)
        both = (seen.reshape(-1, channels) @ inner).reshape(kernel * first, kernel * first)
        fitted: Array = np.linalg.solve(both, seen @ weight).astype(np.float64)
        vectors = _leading(fitted.T @ both @ fitted)[1]
        most = min(kernel * first, weight.shape[1])
        if rank is None:
            gains = energy_gains(weight, _behind(inner, fitted, kernel), self._moments, vectors)
            rank = rule.by_energy(gains, self._moments.energy(weight), most)
        return _factors(weight, self._moments, inner, fitted, vectors[:, : min(rank, most)])


def energy_gains(weight: Array, fitted: Array, moments: Moments, vectors: Array) -> Array:
    """By how much the error of ``fitted V V^T`` falls with each direction that V gets, judged, in their order."""
    seen = moments.judged @ (2 * weight - fitted)
    found: Array = np.einsum("nj,nj->j", vectors, (fitted.T @ seen) @ vectors)
    return found


def _behind(inner: Array, matrix: Array, kernel: int) -> Array:
    """``(kernel * C, N)`` of a matrix ``(kernel * r1, N)`` behind the projection of channels."""
    found: Array = np.matmul(inner, matrix.reshape(kernel, inner.shape[1], -1)).reshape(kernel * len(inner), -1)
    return found


def _factors(weight: Array, moments: Moments, inner: Array | None, core: Array, vectors: Array) -> Factors:
    core = core @ vectors
    whole = core @ vectors.T
    if inner is not None:
        whole = _behind(inner, whole, len(weight) // len(inner))
    lost, energy = weight - whole, moments.energy(weight)
    stored = (None if m is None else np.ascontiguousarray(m, np.float32) for m in (core, vectors.T, inner))
    first, last, thin = stored
    assert first is not None and last is not None
    error = moments.energy(lost) / energy if energy > 0 else 0.0
    return Factors(first, last, thin, lost.T @ moments.mean, error)


def _leading(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, falling and none below zero, with their vectors."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def _roots(matrix: Array) -> tuple[Array, Array]:
    """Square root of a positive definite matrix, and the inverse of it."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    scales = np.sqrt(np.maximum(values, np.finfo(np.float64).eps * values[-1]))
    return (vectors * scales) @ vectors.T, (vectors / scales) @ vectors.T


def _sizes(rule: RankRule, kernel: int, channels: int, columns: int, positions: Positions) -> tuple[int, int]:
    """The largest pair of ranks, both the same part of their axis, within the ratio."""
    assert rule.ratio is not None
    limit = rule.ratio * positions.after * kernel * channels * columns
    best = rule.multiple, rule.multiple
    for part in np.linspace(0.01, 1, 100):
        first, rank = rule.fitting(part * channels, channels), rule.fitting(part * columns, columns)
        macs = positions.before * channels * first + positions.after * rank * (kernel * first + columns)
        if macs <= limit:
            best = first, rank
    return best
