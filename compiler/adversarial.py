"""Inputs that break wrong rewrites, drawn from the input specification.

Zeros (constants folded wrongly show), large and negative values (clips, saturation), denormals (flushing),
alternating signs, seeded normal values; for integers the bounds and seeded values between them; at the
smallest and the largest size of every dynamic dimension. Large means 1e3 for float32: well above any
activation, yet sums of thousands of products stay finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.input_spec import InputSpec, TensorSpec

Array = np.ndarray[Any, Any]
Draw = Callable[[TensorSpec, tuple[int, ...], np.random.Generator], Array]

LARGE = {"float16": 64.0}
LARGE_OTHERWISE = 1e3
UNBOUNDED = (0, 1)
"""Integers without known bounds are drawn from these: they are legal wherever an index or a flag is."""


def adversarial_feeds(spec: InputSpec, seed: int) -> Iterator[tuple[str, Feeds]]:
    """(Label, feeds) of every kind at every corner of the dynamic dimensions; deterministic in ``seed``.

    Labels look like ``zeros`` or, with dynamic dimensions, ``zeros@N=8``.
    """
    for corner, shapes in enumerate(spec.corner_shapes()):
        sizes = ",".join(f"{name}={limits[corner]}" for name, limits in spec.dims.items())
        for label, draw in KINDS.items():
            random = np.random.default_rng([seed, corner, list(KINDS).index(label)])
            feeds = {t.name: draw(t, shapes[t.name], random) for t in spec.tensors}
            yield (f"{label}@{sizes}" if sizes else label), feeds


def random_feeds(spec: InputSpec, seed: int, count: int) -> Iterator[Feeds]:
    """Plausible samples for users without data: standard normal floats, integers within their bounds."""
    corners = list(spec.corner_shapes())
    for i in range(count):
        random = np.random.default_rng([seed, i])
        shapes = corners[i % len(corners)]
        yield {t.name: _normal(t, shapes[t.name], random) for t in spec.tensors}


def _fill(value: float, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    return np.full(shape, value, dtype)


def _integers(tensor: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    low, high = tensor.bounds or UNBOUNDED
    if tensor.dtype.kind == "b":
        low, high = 0, 1
    return random.integers(int(low), int(high), shape, endpoint=True).astype(tensor.dtype)


def _edge(which: int) -> Draw:
    """Integers at the lower (0) or upper (1) bound, floats at zero or at a large value."""

    def draw(tensor: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
        if tensor.dtype.kind == "f":
            return _fill(_clip(_large(tensor) * which, tensor), tensor.dtype, shape)
        return _fill((tensor.bounds or UNBOUNDED)[which], tensor.dtype, shape)

    return draw


def _scaled(factor: Callable[[TensorSpec], float]) -> Draw:
    """Seeded normal floats times a factor; integers between their bounds."""

    def draw(tensor: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
        if tensor.dtype.kind != "f":
            return _integers(tensor, shape, random)
        values = random.standard_normal(shape) * factor(tensor)
        return np.asarray(np.clip(values, *(tensor.bounds or (-np.inf, np.inf)))).astype(tensor.dtype)

    return draw


def _negative(tensor: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    if tensor.dtype.kind != "f":
        return _integers(tensor, shape, random)
    values = -np.abs(random.standard_normal(shape))
    return np.asarray(np.clip(values, *(tensor.bounds or (-np.inf, np.inf)))).astype(tensor.dtype)


def _alternating(tensor: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    signs = np.where(np.arange(int(np.prod(shape))) % 2, -1, 1).reshape(shape)
    if tensor.dtype.kind == "f":
        return np.asarray(np.clip(signs, *(tensor.bounds or (-np.inf, np.inf)))).astype(tensor.dtype)
    low, high = tensor.bounds or UNBOUNDED
    return np.where(signs > 0, high, low).astype(tensor.dtype)


def _large(tensor: TensorSpec) -> float:
    return LARGE.get(tensor.dtype.name, LARGE_OTHERWISE)


def _clip(value: float, tensor: TensorSpec) -> float:
    low, high = tensor.bounds or (-np.inf, np.inf)
    return min(max(value, low), high)


def _denormal(tensor: TensorSpec) -> float:
    return float(np.finfo(tensor.dtype).tiny) / 4


_normal = _scaled(lambda tensor: 1.0)

KINDS: dict[str, Draw] = {
    "zeros": _edge(0),
    "upper bound": _edge(1),
    "normal": _normal,
    "large": _scaled(_large),
    "negative": _negative,
    "denormal": _scaled(_denormal),
    "alternating": _alternating,
}
