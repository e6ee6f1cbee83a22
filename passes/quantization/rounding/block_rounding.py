"""Round a weight matrix to few bits with a scale for each block of consecutive rows of a column, on plain arrays.

``W ~ scale * (q - zero)`` with ``q`` in ``0 .. 2**bits - 1``. Scales are searched by the squared error of the weights.
With the Gram matrix ``G = X^T X`` of the inputs the error of the product ``X W`` counts instead: rows are rounded in
order, and what one row loses is made up for by those that follow.

*References.* Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022
(2210.17323), section 3 (the sweep, by the Cholesky factor of the inverse). Frantar and Alistarh, "Optimal Brain
Compression", 2022 (2208.11580).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SHRINKS = np.linspace(1.0, 0.6, 17)
"""Scales tried, of the one that clips nothing."""
DAMPING = 0.01
"""Added to the diagonal of G, of its mean."""


@dataclass(frozen=True)
class BlockWeight:
    """A matrix in few bits.

    Args:
        quantized: ``(K, N)``, uint8, below ``2**bits``.
        scale: ``(ceil(K / block_size), N)``, float32, positive.
        zero_point: Like ``scale``, uint8.
        bits: Of an element.
        block_size: Rows that share a scale; the last block may be shorter.
    """

    quantized: Array
    scale: Array
    zero_point: Array
    bits: int
    block_size: int

    def dequantize(self) -> Array:
        """``(K, N)``, float32."""
        rows = np.arange(len(self.quantized)) // self.block_size
        found: Array = (self.quantized.astype(np.float32) - self.zero_point[rows]) * self.scale[rows]
        return found


@dataclass(frozen=True)
class BlockFormat:
    """How to store a matrix.

    Args:
        bits: Of an element, 2 to 8.
        block_size: Rows that share a scale.
        symmetric: The zero point is the middle of the range.
    """

    bits: int
    block_size: int
    symmetric: bool

    @property
    def highest(self) -> int:
        """The largest integer."""
        return int(2**self.bits - 1)


def round_blocks(weight: Array, form: BlockFormat, gram: Array | None = None) -> BlockWeight:
    """Round ``weight``.

    Args:
        weight: ``(K, N)``, float, finite.
        form: What to round to.
        gram: ``(K, K)``, float; None rounds each element to the nearest. Columns whose product would not get nearer are
            rounded to the nearest as well.
    """
    nearest = _round_nearest(weight, form)
    if gram is None:
        return nearest
    swept = _sweep(weight.astype(np.float64), form, gram.astype(np.float64))
    better = _losses(weight, swept, gram) < _losses(weight, nearest, gram)

    def choose(a: Array, b: Array) -> Array:
        found: Array = np.where(better, a, b)
        return found

    return BlockWeight(
        choose(swept.quantized, nearest.quantized),
        choose(swept.scale, nearest.scale),
        choose(swept.zero_point, nearest.zero_point),
        form.bits,
        form.block_size,
    )


def _losses(weight: Array, found: BlockWeight, gram: Array) -> Array:
    """Squared error of the product, a column."""
    error = weight - found.dequantize()
    losses: Array = np.einsum("kn,kn->n", error, gram @ error)
    return losses


def _round_nearest(weight: Array, form: BlockFormat) -> BlockWeight:
    parts = [_round_block(weight[k : k + form.block_size], form) for k in range(0, len(weight), form.block_size)]
    scales, zeros, quantized = zip(*parts, strict=True)
    return BlockWeight(np.vstack(quantized), np.stack(scales), np.stack(zeros), form.bits, form.block_size)


def _round_block(block: Array, form: BlockFormat, importance: Array | None = None) -> tuple[Array, Array, Array]:
    """Scale and zero point ``(N,)`` of least squared error, and ``block`` in integers; rows weigh ``importance``."""
    best: tuple[Array, Array] | None = None
    lowest = np.full(block.shape[1], np.inf)
    for shrink in SHRINKS if form.bits < 8 else SHRINKS[:1]:
        scale, zero = _affine(block, form, float(shrink))
        squares = (block - scale * (_integers(block, scale, zero, form) - zero)) ** 2
        error = squares.sum(axis=0) if importance is None else importance @ squares
        if best is None:
            best = scale, zero
        better = error < lowest
        best = np.where(better, scale, best[0]), np.where(better, zero, best[1])
        lowest = np.where(better, error, lowest)
    assert best is not None
    scale, zero = best
    return scale, zero.astype(np.uint8), _integers(block, scale, zero, form).astype(np.uint8)


def _affine(block: Array, form: BlockFormat, shrink: float) -> tuple[Array, Array]:
    """Scale and zero point of each column, both as float32."""
    if form.symmetric:
        middle = (form.highest + 1) // 2
        scale = _positive(shrink * np.abs(block).max(axis=0) / (middle - 1))
        return scale, np.full_like(scale, middle)
    low, high = np.minimum(block.min(axis=0), 0), np.maximum(block.max(axis=0), 0)
    full = _positive((high - low) / form.highest)
    zero = np.clip(np.rint(-low / full), 0, form.highest).astype(np.float32)
    return _positive(shrink * full), zero


def _integers(values: Array, scale: Array, zero: Array, form: BlockFormat) -> Array:
    found: Array = np.clip(np.rint(values / scale) + zero, 0, form.highest)
    return found


def _positive(scale: Array) -> Array:
    """Scales as float32; 1 where the weights are so small that the scale would be no normal number."""
    rounded = np.asarray(scale).astype(np.float32)
    found: Array = np.where(rounded >= np.finfo(np.float32).tiny, rounded, np.float32(1))
    return found


def _sweep(weight: Array, form: BlockFormat, gram: Array) -> BlockWeight:
    """Round row by row and let the rows that follow make up for each error; ``weight`` is used up."""
    factor = _factor(gram)
    importance = 1 / np.diag(factor) ** 2
    quantized = np.zeros(weight.shape, np.uint8)
    scales, zeros = [], []
    for begin in range(0, len(weight), form.block_size):
        end = min(begin + form.block_size, len(weight))
        scale, zero, _ = _round_block(weight[begin:end], form, importance[begin:end])
        errors = np.zeros((end - begin, weight.shape[1]))
        for row in range(begin, end):
            integers = _integers(weight[row], scale, zero, form)
            quantized[row] = integers
            error = (weight[row] - scale * (integers - zero)) / factor[row, row]
            weight[row + 1 : end] -= factor[row, row + 1 : end, None] * error
            errors[row - begin] = error
        weight[end:] -= factor[begin:end, end:].T @ errors
        scales.append(scale)
        zeros.append(zero)
    return BlockWeight(quantized, np.stack(scales), np.stack(zeros), form.bits, form.block_size)


def _factor(gram: Array) -> Array:
    """Upper Cholesky factor of the inverse of ``gram``, which is damped until it has one."""
    diagonal = np.diag(gram)
    damping = DAMPING * max(float(diagonal.mean()), float(np.finfo(np.float32).tiny))
    inverse = np.linalg.inv(gram + damping * np.eye(len(gram)))
    found: Array = np.linalg.cholesky((inverse + inverse.T) / 2).T
    return found
