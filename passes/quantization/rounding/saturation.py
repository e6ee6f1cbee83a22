"""What 8-bit dot products give that add pairs of products in 16 bits, bit for bit; and how often they clip.

::

    y[n] = sum over j of clip(a[2j] w[2j, n] + a[2j+1] w[2j+1, n], -2**15, 2**15 - 1)

So does x86 without VNNI (``vpmaddubsw``), with ``a`` in 0..255 and ``w`` in -128..127. int8 activations
count as uint8 with a zero point that is larger by 128: ONNX Runtime rewrites them so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.integer_products import PAIR_LIMIT, IntegerProduct, integer_products, pair_sums
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.observe import observe
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.layer_inputs.layer_rows import layer_rows

Array = np.ndarray[Any, np.dtype[Any]]
LOW, HIGH = -(2**15), 2**15 - 1


@dataclass
class Saturation:
    """Pairs of products of one layer on some data.

    Args:
        unsafe_columns: Output channels of which some pair could clip.
        saturated: Pairs that clipped.
        pairs: Pairs that were added.
    """

    unsafe_columns: int
    saturated: int = 0
    pairs: int = 0

    @property
    def rate(self) -> float:
        """Share of the pairs that clipped."""
        return self.saturated / self.pairs if self.pairs else 0.0


def saturating_matmul(rows: Array, weight: Array) -> Array:
    """``rows @ weight`` as a machine without VNNI computes it.

    Args:
        rows: ``(P, K)``, uint8.
        weight: ``(K, N)``, int8.

    Returns:
        ``(P, N)``, int64; before any zero point is subtracted.
    """
    exact: Array = np.rint(rows.astype(np.float64) @ weight.astype(np.float64)).astype(np.int64)
    for columns, sums in _risky_sums(rows, weight):
        exact[:, columns] += np.clip(sums, LOW, HIGH) - sums
    return exact


def count_saturated(rows: Array, weight: Array) -> int:
    """How many of the ``P * ceil(K / 2) * N`` pairs of ``rows @ weight`` clip."""
    return sum(int(np.count_nonzero((sums < LOW) | (sums > HIGH))) for _, sums in _risky_sums(rows, weight))


def saturated_pairs(
    model: ir.Model, samples: Callable[[], Iterable[Feeds]], *, positions: int = 64, seed: int = 0
) -> dict[str, Saturation]:
    """Count, for each layer of a quantized model, the pairs that clip on calibration data.

    Layers before it are computed without clipping, so that each layer is judged by itself.

    Args:
        model: Quantized, with QDQ or integer operators.
        samples: Gives the calibration data from the start each time.
        positions: Rows that are looked at, a sample and layer.
        seed: Of the choice of positions.

    Returns:
        Node name -> counts, of every layer whose kernel adds in pairs; layers with pair-safe weights have 0.
        Of layers in subgraphs no pairs are counted.
    """
    found: dict[str, Saturation] = {}
    risky: dict[str, list[IntegerProduct]] = defaultdict(list)
    for product in integer_products(model):
        if product.saturates:
            found[product.node.name or ""] = Saturation(product.unsafe_columns())
            if product.node.graph is model.graph:
                risky[product.activation.name or ""].append(product)
    for index, values in observe(model, list(risky), samples):
        for name, array in values.items():
            for number, product in enumerate(risky[name]):
                rng = np.random.default_rng((seed, index, number))
                _count(found[product.node.name or ""], product, array, positions, rng)
    return found


def _count(counts: Saturation, product: IntegerProduct, array: Array, positions: int, rng: np.random.Generator) -> None:
    activation, zero_point = _unsigned(array, _zero_point(product))
    for part, weights in _batches(product, activation):
        rows = layer_rows(product.node, part, product.weight.shape, positions, rng, fill=zero_point)
        for group, weight in zip(rows, weights, strict=True):
            counts.pairs += len(group) * -(-len(weight) // 2) * weight.shape[1]
            if counts.unsafe_columns:
                counts.saturated += count_saturated(group, weight)


def _batches(product: IntegerProduct, array: Array) -> Iterator[tuple[Array, Array]]:
    """Activation and ``(groups, K, N)`` weights; of a stack of matrices one by one, with what they are multiplied with."""
    matrices = product.matrices()
    if product.is_conv or product.weight.ndim <= 2:
        yield array, matrices
        return
    stack = product.weight.shape[:-2]
    shape = np.broadcast_shapes(array.shape[:-2], stack)
    every = np.broadcast_to(array, (*shape, *array.shape[-2:])).reshape(-1, *array.shape[-2:])
    numbers = np.broadcast_to(np.arange(len(matrices)).reshape(stack), shape).reshape(-1)
    for part, number in zip(every, numbers, strict=True):
        yield part, matrices[number : number + 1]


def _unsigned(array: Array, zero_point: int) -> tuple[Array, int]:
    if array.dtype == np.int8:
        return (array.astype(np.int16) + 128).astype(np.uint8), zero_point + 128
    if array.dtype == np.uint8:
        return array, zero_point
    return _quantize_dynamic(array)


def _quantize_dynamic(array: Array) -> tuple[Array, int]:
    """As DynamicQuantizeLinear does."""
    low, high = min(float(array.min(initial=0)), 0.0), max(float(array.max(initial=0)), 0.0)
    scale = np.float32((high - low) / 255) or np.float32(1)
    zero_point = int(np.clip(np.rint(-low / scale), 0, 255))
    return np.clip(np.rint(array / scale) + zero_point, 0, 255).astype(np.uint8), zero_point


def _zero_point(product: IntegerProduct) -> int:
    """Zero point of the activation of a convolution, with which its borders are filled."""
    node = product.node
    if not product.is_conv:
        return 0
    if node.op_type == "QLinearConv":
        value = node.inputs[2]
    else:
        source = node.inputs[0]
        producer = None if source is None else source.producer()
        value = producer.inputs[2] if producer is not None and len(producer.inputs) > 2 else None
    array = constant_array(value)
    return 0 if array is None else int(array.reshape(-1)[0])


def _risky_sums(rows: Array, weight: Array) -> Iterator[tuple[Array, Array]]:
    """For each pair of rows of ``weight`` that could clip: the columns in which, and the sums there, unclipped."""
    wide = weight.astype(np.int64)
    if len(wide) % 2:
        wide = np.vstack([wide, np.zeros_like(wide[:1])])
        rows = np.hstack([rows, np.zeros_like(rows[:, :1])])
    positive, negative = pair_sums(np.maximum(wide, 0)), pair_sums(np.minimum(wide, 0))
    risky = (positive > PAIR_LIMIT) | (negative < -PAIR_LIMIT)
    for j in np.flatnonzero(risky.any(axis=1)):
        columns = np.flatnonzero(risky[j])
        pair = rows[:, 2 * j : 2 * j + 2].astype(np.int32)
        yield columns, (pair @ wide[2 * j : 2 * j + 2, columns].astype(np.int32)).astype(np.int64)
