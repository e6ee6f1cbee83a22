"""Means, second moments and mean squares of what weights read, streamed over samples.

::

    G = sum (x - s)^T (x - s),  m = mean (x - s)      covariance = G / P - m^T m      s: mean of the first sample

The shift keeps sums in float32 sound where the mean is large beside the spread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.observe import observe
from tamis.passes.layer_inputs.gram import Gram
from tamis.passes.pruning.axes.axis import Axis
from tamis.passes.pruning.importance.product import Product
from tamis.passes.pruning.importance.shrinkage import shrinkage, squared_norm

Array = np.ndarray[Any, np.dtype[Any]]
Samples = Callable[[], Iterable[Feeds]]
KeyT = TypeVar("KeyT", bound=Hashable)
LONG = 2048
"""Longer rows are worked on in float32: half the time and memory, and the ridge keeps the error below a percent."""


@dataclass
class Moments:
    """Of the rows of one product, sample by sample.

    Args:
        gram: About the shift; its ``rows`` is 0 as long as there are none.
        shift: Mean of the first sample, ``(K,)``, float32.
        samples: Samples with rows.
        first: Of the first sample: rows, and the mean of ``|x|^4`` about its mean.
        spread: Sum of ``|S_i|^2`` of the samples behind the first, each about the mean of those before it.
    """

    gram: Gram
    shift: Array | None = None
    samples: int = 0
    first: tuple[int, float] = (0, 0.0)
    spread: float = 0.0

    def add(self, rows: Array) -> None:
        """Take in the rows of a sample, ``(P, K)``, float32."""
        if not len(rows):
            return
        if self.shift is None:
            self.shift = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
            shifted = rows - self.shift
            self.first = len(rows), float(np.square((shifted**2).sum(axis=1, dtype=np.float64)).mean())
        else:
            shifted = rows - self.shift
            self.spread += squared_norm(shifted - self.gram.mean[0].astype(np.float32))
        self.samples += 1
        self.gram.add(shifted[None])

    def covariance(self) -> Array | None:
        """``(K, K)``, float64, or float32 beyond ``LONG``; None if there are no rows, or not all are finite."""
        gram = self.gram
        if not gram.rows or not np.isfinite(gram.g).all():
            return None
        dtype = np.float32 if len(gram.g[0]) > LONG else np.float64
        found: Array = gram.g[0].astype(dtype)
        found /= gram.rows
        mean = gram.mean[0].astype(dtype)
        found -= np.outer(mean, mean)
        return found

    def shrinkage(self, covariance: Array) -> float:
        """How far to shrink it, 0 to 1; of a single sample, its rows count as independent."""
        if self.samples < 2:
            return shrinkage(covariance, self.first[1], self.first[0])
        return shrinkage(covariance, self.spread / (self.samples - 1), self.samples)


def input_moments(
    model: ir.Model, products: Mapping[KeyT, Product], samples: Samples, *, positions: int, seed: int
) -> dict[KeyT, Moments]:
    """Moments of the rows of each product, all held at once.

    Args:
        model: That the products belong to.
        products: By what they read.
        samples: Gives the samples from the start each time.
        positions: Rows of a sample and product at most; drawn at random if there are more.
        seed: Of that choice.

    Raises:
        DataError: There are no samples.
    """
    found = {key: Moments(_empty(product.length)) for key, product in products.items()}
    readers: dict[str, list[tuple[int, KeyT]]] = defaultdict(list)
    for number, (key, product) in enumerate(products.items()):
        readers[str(product.value.name)].append((number, key))
    with np.errstate(over="ignore", invalid="ignore"):
        for index, values in observe(model, readers, samples):
            for name, array in values.items():
                for number, key in readers[name]:
                    rows = products[key].rows(array, positions, np.random.default_rng((seed, index, number)))
                    found[key].add(rows)
    return found


def mean_squares(model: ir.Model, axes: Iterable[Axis], samples: Samples) -> dict[Axis, Array]:
    """Mean of x^2 at each position along axes of values: ``(size,)``, float64.

    Raises:
        DataError: There are no samples.
    """
    wanted: dict[str, list[Axis]] = defaultdict(list)
    for axis in dict.fromkeys(axes):
        assert isinstance(axis.tensor, ir.Value)
        wanted[str(axis.tensor.name)].append(axis)
    sums: dict[Axis, Array] = {}
    counts: dict[Axis, int] = defaultdict(int)
    for _, values in observe(model, wanted, samples):
        for name, array in values.items():
            for axis in wanted[name]:
                sums[axis] = sums.get(axis, 0) + _squares_along(array, axis.index)
                counts[axis] += array.size // max(1, array.shape[axis.index])
    return {axis: total / max(1, counts[axis]) for axis, total in sums.items()}


def _squares_along(array: Array, index: int) -> Array:
    """Sum of squares at each position along an axis."""
    others = tuple(i for i in range(array.ndim) if i != index)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(array, dtype=np.float64 if array.dtype == np.float64 else np.float32)
        found: Array = squares.sum(axis=others, dtype=np.float64)
    return found


def _empty(length: int) -> Gram:
    return Gram(np.zeros((1, length, length), np.float32), np.zeros((1, length)))
