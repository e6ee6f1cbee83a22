"""What the values of a tensor look like over all calibration samples, from two passes over the samples in fixed memory.

The first pass finds the range, the second one counts values in bins of equal width over it. Values that are NaN or
infinite are counted apart and are in neither; exact zeros are counted apart and are not in the bins, since they cost
nothing in any quantization that represents 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.observe import observe
from tamis.compiler.progress import Progress

Array = np.ndarray[Any, np.dtype[Any]]
BINS = 2048
PLAIN = (1e-30, 1e35)
"""Ranges of a width between these are cut into bins in float32."""


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """Statistics of one tensor.

    Args:
        low, high: Smallest and largest finite value; 0 if there is none.
        elements: Values in all samples.
        zeros: Those that are exactly 0.
        non_finite: Those that are NaN or infinite.
        histogram: ``(2048,)``, how many of the others lie in each of the bins between ``low`` and ``high``.
        axis: Of the channels, if ``channel_low`` and ``channel_high`` were asked for.
        channel_low, channel_high: ``(C,)``, ranges of the channels; 0 for a channel without a finite value.
    """

    low: float
    high: float
    elements: int
    zeros: int
    non_finite: int
    histogram: Array
    axis: int | None = None
    channel_low: Array | None = None
    channel_high: Array | None = None

    @property
    def problem(self) -> str | None:
        """Why calibration tells little about the tensor, as the reason of a skip; None if all is well."""
        if self.elements == 0:
            return "has no values on any calibration sample"
        if self.non_finite == self.elements:
            return "is NaN or infinite on all calibration samples"
        if self.non_finite:
            return "is NaN or infinite in places on the calibration samples"
        if self.low == self.high:
            return f"is {'0' if self.low == 0 else 'constant'} on all calibration samples"
        return None

    def edges(self) -> Array:
        """``(2049,)``, the limits of the bins."""
        return np.linspace(self.low, self.high, BINS + 1)


@dataclass
class _Running:
    """The statistics of one tensor while samples come in."""

    axis: int | None
    low: float = np.inf
    high: float = -np.inf
    elements: int = 0
    zeros: int = 0
    non_finite: int = 0
    channel_low: Array | None = None
    channel_high: Array | None = None
    histogram: Array = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def widen(self, array: Array) -> None:
        """First pass."""
        values = _as_float(array)
        self.elements += values.size
        if not values.size:
            return
        finite = values
        if not (np.isfinite(values.min()) and np.isfinite(values.max())):
            finite = values[np.isfinite(values)]
            self.non_finite += values.size - finite.size
        self.zeros += finite.size - int(np.count_nonzero(finite))
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        if self.axis is not None and -values.ndim <= self.axis < values.ndim:
            self._widen_channels(values, finite is values)

    def _widen_channels(self, values: Array, finite: bool) -> None:
        assert self.axis is not None
        others = tuple(a for a in range(values.ndim) if a != self.axis % values.ndim)
        ok: Any = True if finite else np.isfinite(values)
        low = values.min(axis=others, initial=np.inf, where=ok)
        high = values.max(axis=others, initial=-np.inf, where=ok)
        if self.channel_low is None or self.channel_high is None:
            self.channel_low, self.channel_high = low, high
        elif low.shape == self.channel_low.shape:
            np.minimum(self.channel_low, low, out=self.channel_low)
            np.maximum(self.channel_high, high, out=self.channel_high)
        else:
            self.axis = self.channel_low = self.channel_high = None  # sizes differ between samples: not channels

    def close_ranges(self) -> None:
        """Between the passes."""
        if self.low > self.high:
            self.low = self.high = 0.0
        if self.channel_low is not None and self.channel_high is not None:
            empty = self.channel_low > self.channel_high
            self.channel_low[empty] = self.channel_high[empty] = 0
        else:
            self.axis = None

    def count(self, array: Array) -> None:
        """Second pass."""
        values = _as_float(array).reshape(-1)
        if self.non_finite:
            values = values[np.isfinite(values)]
        if self.low == self.high or not values.size:
            return
        self.histogram += np.bincount(self._bins(values), minlength=BINS)

    def _bins(self, values: Array) -> Array:
        wide = values if PLAIN[0] < self.high - self.low < PLAIN[1] else values.astype(np.float64)
        steps = (wide - wide.dtype.type(self.low)) * wide.dtype.type(BINS / (self.high - self.low))
        np.clip(steps, 0, BINS - 1, out=steps)
        return steps.astype(np.int32)

    def result(self) -> TensorStatistics:
        histogram = self.histogram
        if self.zeros and self.low < self.high:
            histogram[self._bins(np.zeros(1, np.float32))] -= self.zeros
        return TensorStatistics(
            self.low,
            self.high,
            self.elements,
            self.zeros,
            self.non_finite,
            histogram,
            self.axis,
            self.channel_low,
            self.channel_high,
        )


def _as_float(array: Array) -> Array:
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def gather(
    model: ir.Model,
    names: Iterable[str],
    samples: Callable[[], Iterable[Feeds]],
    *,
    count: int | None = None,
    channel_axes: Mapping[str, int] | None = None,
    quiet: bool = False,
) -> dict[str, TensorStatistics]:
    """Statistics of the values called ``names``, without the cache; see ``collect``.

    Args:
        count: Number of samples, for the progress bar.
        channel_axes: Name -> axis, for tensors whose ranges are wanted by channel as well.
    """
    running = {name: _Running((channel_axes or {}).get(name)) for name in names}
    with Progress("calibrating", quiet=quiet) as progress:
        for number, step in enumerate(("ranges", "histograms")):
            seen = 0
            for index, found in observe(model, running, samples):
                for name, array in found.items():
                    _Running.widen(running[name], array) if number == 0 else _Running.count(running[name], array)
                seen += len(found)
                whole = (count or index + 1) * len(running)
                progress.update((number + seen / whole) / 2, step)
            for each in running.values() if number == 0 else ():
                each.close_ranges()
    return {name: each.result() for name, each in running.items()}
