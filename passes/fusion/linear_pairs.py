"""One linear operator for two in a row: the arithmetic, and what either form multiplies.

The second convolution reads, at tap ``t2``, output ``o s2 - b2 + t2 d2`` of the first, which reads, at tap ``t1``,
``x[o s1 s2 - (b1 + b2 s1) + t1 d1 + t2 d2 s1]``: a convolution again. Where the second reads its padding, 0 must be
what the first would give there: so the first must, on such an axis, have one tap and no padding, and no bias at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.passes.fusion.affine import Array
from tamis.passes.fusion.linear_nodes import Linear, float_attribute, groups, int_attribute
from tamis.passes.fusion.windows import Window, read_window


@dataclass(frozen=True)
class Convolutions:
    """Two convolutions in a row.

    Args:
        first, second: Their parameters.
        inner, outer: Where the first and the second read.
        window: Where one convolution in their place reads.
        groups: Of channels, in that one.
    """

    first: Linear
    second: Linear
    inner: Window
    outer: Window
    window: Window
    groups: int

    def pays(self) -> bool | str:
        """Whether one convolution multiplies less than two, or why that is not known."""
        positions = self._positions()
        if positions is None:
            return "the sizes, by which multiplications are counted, are not known"
        before, after = positions
        channels = self.first.weight.shape[1] * groups(self.first.node) // self.groups
        merged = self.second.bias.size * channels * self.window.taps
        return bool(after * merged < before * self.first.weight.size + after * self.second.weight.size)

    def _positions(self) -> tuple[int, int] | None:
        """Outputs on the spatial axes of the first and of the second, or numbers of at most their ratio."""
        sizes = [_spatial(c.node.outputs[0]) for c in (self.first, self.second)]
        if sizes[0] and sizes[1]:
            return prod(sizes[0]), prod(sizes[1])
        return (1, 1) if max(self.outer.balance) <= 0 else None

    def merged(self) -> tuple[Array, Array]:
        """Weight and bias of one convolution: ``W = W2 * W1``, ``b = W2 b1 + b2``."""
        a, b = _regroup(self.first, self.groups), _regroup(self.second, self.groups)
        weight = np.zeros((*b.shape[:2], a.shape[2], *self.window.kernel))
        for late in product(*map(range, self.outer.kernel)):
            for early in product(*map(range, self.inner.kernel)):
                weight[self._place(early, late)] += np.matmul(b[_tap(late)], a[_tap(early)])
        shift = b.reshape(*b.shape[:3], -1).sum(axis=3) @ self.first.bias.reshape(self.groups, -1, 1)
        return weight.reshape(-1, *weight.shape[2:]), shift.reshape(-1) + self.second.bias

    def _place(self, early: tuple[int, ...], late: tuple[int, ...]) -> tuple[Any, ...]:
        """Where in the merged kernel the products of two taps belong, as an index."""
        axes = zip(early, late, self.inner.dilations, self.outer.dilations, self.inner.strides, strict=True)
        places = (e * d1 + t * d2 * s1 for e, t, d1, d2, s1 in axes)
        return _tap(tuple(place // step for place, step in zip(places, self.window.dilations, strict=True)))


def _tap(place: tuple[int, ...]) -> tuple[Any, ...]:
    """The index of one tap, for all groups and channels."""
    return (..., *place)


def compose(first: Linear, second: Linear) -> Convolutions | str:
    """Two convolutions as one, or why there is none."""
    windows = [read_window(c.node, c.weight.shape[2:]) for c in (first, second)]
    inner, outer = windows
    if isinstance(inner, str):
        return inner
    if isinstance(outer, str):
        return outer
    padded = [i for i in range(outer.rank) if outer.begins[i] or outer.ends[i]]
    if padded and first.bias.any():
        return "a bias before padding"
    if any(inner.kernel[i] > 1 or inner.begins[i] or inner.ends[i] for i in padded):
        return "a kernel before padding"
    common = gcd(groups(first.node), groups(second.node))
    return Convolutions(first, second, inner, outer, _window(inner, outer), common)


def _window(inner: Window, outer: Window) -> Window:
    """Where the second of two convolutions reads the input of the first."""
    kernel, dilations = [], []
    for i, stride in enumerate(inner.strides):
        span = inner.spans[i] + outer.spans[i] * stride
        steps = (inner.dilations[i] * (inner.kernel[i] > 1), outer.dilations[i] * stride * (outer.kernel[i] > 1))
        dilations.append(gcd(*steps) or 1)
        kernel.append(span // dilations[-1] + 1)
    return Window(
        tuple(kernel),
        tuple(a * b for a, b in zip(inner.strides, outer.strides, strict=True)),
        tuple(dilations),
        tuple(a + b * s for a, b, s in zip(inner.begins, outer.begins, inner.strides, strict=True)),
        tuple(a + b * s for a, b, s in zip(inner.ends, outer.ends, inner.strides, strict=True)),
    )


def _spatial(value: ir.Value) -> list[int] | None:
    """The sizes of the spatial axes; None if one is not known."""
    dims = list(value.shape or ())[2:]
    return [d for d in dims if isinstance(d, int)] if all(isinstance(d, int) for d in dims) else None


def _regroup(linear: Linear, count: int) -> Array:
    """Weights with fewer, larger groups, zero where channels were apart: ``(count, C_out / count, C_in / count, *k)``."""
    inside = groups(linear.node) // count
    weight = linear.weight
    outputs, inputs = weight.shape[0] // (count * inside), weight.shape[1]
    wide = np.zeros((count, inside, outputs, inside, inputs, *weight.shape[2:]))
    own = np.arange(inside)
    wide[:, own, :, own] = np.moveaxis(weight.reshape(count, inside, outputs, *weight.shape[1:]), 1, 0)
    return wide.reshape(count, inside * outputs, inside * inputs, *weight.shape[2:])


def matrix_product(first: Linear, second: Linear) -> tuple[Array, Array] | str:
    """Weight and bias of one matrix product for two, ``a1 a2 W1 W2`` and ``a2 b1 W2 + b2``, or why there is none."""
    if int_attribute(second.node, "transA", 0):
        return "the second product transposes the first"
    (rows, inner), columns = first.weight.shape, second.weight.shape[1]
    if rows * columns >= inner * (rows + columns):
        return "one product multiplies no less than two"
    scales = [float_attribute(p.node, "alpha", 1.0) if p.node.op_type == "Gemm" else 1.0 for p in (first, second)]
    late = scales[1] * second.weight
    return scales[0] * first.weight @ late, first.bias @ late + second.bias


def rounded(
    weight: Array, bias: Array, dtype: np.dtype[Any], axis: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | str:
    """Both as ``dtype``, or why that does not hold them: products of small weights can be too small for it.

    Args:
        weight: Exact weights.
        bias: Exact bias.
        dtype: To store them as.
        axis: Of ``weight``, the one over outputs.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        arrays = np.ascontiguousarray(weight).astype(dtype), np.ascontiguousarray(bias).astype(dtype)
    if not all(np.isfinite(a).all() for a in arrays):
        return "merged weights are not finite"
    others = tuple(i for i in range(weight.ndim) if i != axis)
    lost = np.abs(weight - arrays[0]).max(axis=others, initial=0)
    largest = np.abs(weight).max(axis=others, initial=0)
    return "merged weights are too small for their type" if (lost > np.finfo(dtype).eps * largest).any() else arrays
