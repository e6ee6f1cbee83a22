"""What is known of the input of a layer: second moments, about its mean where the layer can take a constant.

Few samples say little of many inputs, and factors that fit them best forget what they do not show. So second moments are
shrunk to a multiple of the identity, by as much as their number of rows calls for, and ranks and errors are judged by
samples that the factors are not fitted to.

*References.* Chen et al., "Shrinkage algorithms for MMSE covariance estimation", 2010 (0907.4698), equation 23 (oracle
approximating shrinkage).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.passes.layer_inputs.gram import MEMORY, Gram, Layer, collect_grams

Array = np.ndarray[Any, np.dtype[np.float64]]
Samples = Callable[[], Iterable[Feeds]]
LEAST_SHRINKAGE = 1e-3
"""So that second moments have an inverse."""
HELD_OUT = 4
"""Every so many-th sample is not fitted to, but judged by."""


@dataclass(frozen=True)
class Moments:
    """Of the rows ``x`` of a layer's input.

    Args:
        second: ``(K, K)``, float64, positive definite: mean of ``(x - mean)(x - mean)^T``, shrunk; to fit to.
        mean: ``(K,)``, float64; zero if the layer takes no constant.
        judged: ``(K, K)``, float64: the same, about the same mean, of other samples and as it is; to judge by.
    """

    second: Array
    mean: Array
    judged: Array

    def energy(self, weight: Array) -> float:
        """``trace(W^T C W)``, judged: the variance of all outputs together."""
        return float(np.einsum("kn,kn->", weight, self.judged @ weight))


def moments_of(gram: Gram, held: Gram | None, *, centred: bool) -> Moments | None:
    """Of a layer of one group; None if the samples give numbers that are not finite, or nothing but zeros.

    Args:
        gram: To fit to.
        held: Of other samples, to judge by; None if there are none.
        centred: Whether the layer takes a constant.
    """
    mean = gram.mean[0] if centred else np.zeros(gram.mean.shape[1])
    second = _about(gram, mean)
    judged = second.copy() if held is None else _about(held, mean)
    if not (np.isfinite(second).all() and np.isfinite(judged).all()) or second.trace() <= 0 or judged.trace() <= 0:
        return None
    _shrink(second, gram.rows)
    return Moments(second, mean, judged)


def without_samples(rows: int) -> Moments:
    """All directions alike: the error is that of the weight."""
    return Moments(np.eye(rows), np.zeros(rows), np.eye(rows))


def grams_in_two(
    model: ir.Model, layers: Sequence[Layer], samples: Samples, seed: int
) -> Iterator[tuple[Layer, Gram, Gram | None]]:
    """Of each layer the Gram matrix to fit to and the one to judge by; None if there are fewer samples than ``HELD_OUT``."""

    def part(*, held: bool) -> Samples:
        return lambda: (feeds for i, feeds in enumerate(samples()) if (i % HELD_OUT == HELD_OUT - 1) is held)

    enough = len(list(islice(samples(), HELD_OUT))) == HELD_OUT
    fitted = collect_grams(model, layers, part(held=False), memory=MEMORY // 2, seed=seed)
    others = collect_grams(model, layers, part(held=True), memory=MEMORY // 2, seed=seed) if enough else repeat(None)
    for (layer, gram), other in zip(fitted, others, strict=False):
        yield layer, gram, None if other is None else other[1]


def _about(gram: Gram, mean: Array) -> Array:
    """Second moments about ``mean``, which may be that of other rows."""
    second: Array = gram.g[0].astype(np.float64)
    second /= gram.rows
    if mean.any():
        crossed = np.outer(gram.mean[0], mean)
        second -= crossed
        second -= crossed.T
        second += np.outer(mean, mean)
    return second


def _shrink(second: Array, rows: int) -> None:
    """Bring second moments nearer to a multiple of the identity, in place."""
    size = len(second)
    trace, square = float(second.trace()), float(np.vdot(second, second))
    spread = square - trace**2 / size
    most = (1 - 2 / size) * square + trace**2
    part = min(max(most / ((rows + 1 - 2 / size) * spread), LEAST_SHRINKAGE), 1.0) if spread > 0 else 1.0
    second *= 1 - part
    second.flat[:: size + 1] += part * trace / size
