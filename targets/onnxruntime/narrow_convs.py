"""How many positions a convolution with few filters should compute at once, and the filters that do it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

ONE_BLOCK = 0.75
"""Speed of filters that fill one block, over that of several blocks, which share what is loaded."""
MOVE = 60
"""Multiplications that take as long as to move one number while positions are put in order again."""
MOST_BLOCKS = 4
"""More blocks of filters are no faster."""
WORTH = 0.85
"""Share of the time that may be left, estimated, for a convolution to be changed."""

Pair = tuple[int, int]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Window:
    """A convolution over two axes, dilations 1.

    Args:
        filters, channels: Of the weight.
        size: Of the input, ``(H, W)``.
        kernel, strides: Each ``(height, width)``.
        begin, end: Padding before and after.
    """

    filters: int
    channels: int
    size: Pair
    kernel: Pair
    strides: Pair
    begin: Pair
    end: Pair

    @property
    def positions(self) -> Pair:
        """Size of the output."""
        h, w = (
            (size + b + e - k) // s + 1
            for size, b, e, k, s in zip(self.size, self.begin, self.end, self.kernel, self.strides, strict=True)
        )
        return h, w

    def unrolled(self, by: Pair) -> Window:
        """The same convolution with ``by`` neighbouring positions as filters of their own."""
        kernel = _pair(k + (u - 1) * s for k, u, s in zip(self.kernel, by, self.strides, strict=True))
        strides = _pair(u * s for u, s in zip(by, self.strides, strict=True))
        steps = _pair(-(-p // u) for p, u in zip(self.positions, by, strict=True))
        end = _pair(
            max(0, (n - 1) * s + k - size - b)
            for n, s, k, size, b in zip(steps, strides, kernel, self.size, self.begin, strict=True)
        )
        return Window(self.filters * by[0] * by[1], self.channels, self.size, kernel, strides, self.begin, end)

    def time(self, block: int) -> float:
        """Estimated, in multiplications at full speed, with filters in blocks of ``block``."""
        blocks = -(-self.filters // block)
        height, width = self.positions
        products = blocks * block * self.channels * self.kernel[0] * self.kernel[1] * height * width
        return products / (ONE_BLOCK if blocks == 1 else 1)


def choose(window: Window, block: int) -> Pair | None:
    """How many positions along either axis to compute at once; None if it does not pay."""
    moved = MOVE * window.filters * window.positions[0] * window.positions[1]
    times = {by: window.unrolled(by).time(block) + moved for by in _factors(window, block)}
    best = min(times, key=lambda by: times[by], default=None)
    return None if best is None or times[best] > WORTH * window.time(block) else best


def unroll_weight(weight: Array, window: Window, by: Pair) -> Array:
    """``(O, I, kH, kW)`` -> ``(by_h by_w O, I, kH + (by_h - 1) s_h, kW + (by_w - 1) s_w)``, zeros around each filter."""
    outputs, inputs, height, width = weight.shape
    kernel = window.unrolled(by).kernel
    grown = np.zeros((*by, outputs, inputs, *kernel), weight.dtype)
    for i in range(by[0]):
        for j in range(by[1]):
            top, left = i * window.strides[0], j * window.strides[1]
            grown[i, j, :, :, top : top + height, left : left + width] = weight
    return grown.reshape(-1, inputs, *kernel)


def _factors(window: Window, block: int) -> Iterator[Pair]:
    """Powers of two, up to the first that covers all positions: with these a second look finds nothing better."""
    most = MOST_BLOCKS * block // window.filters
    height, width = window.positions
    for h in _powers(min(most, 2 * height - 1)):
        for w in _powers(min(most // h, 2 * width - 1)):
            if h * w > 1:
                yield h, w


def _powers(most: int) -> Iterator[int]:
    power = 1
    while power <= most:
        yield power
        power *= 2


def _pair(numbers: Iterator[int]) -> Pair:
    first, second = numbers
    return first, second
