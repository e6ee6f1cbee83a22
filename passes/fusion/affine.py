"""The arithmetic of folding ``scale * x + shift`` into a linear operator, on plain arrays in float64.

A linear operator is ``y = W x + b``. Folding after it gives ``W' = scale W``, ``b' = scale b + shift`` over
output channels; folding before it gives ``W' = W scale``, ``b' = b + W shift`` over input channels, the
latter only if every output reads as many inputs, that is, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Affine:
    """``x -> scale * x + shift`` per channel.

    Args:
        scale: ``()`` or ``(C,)``, float64.
        shift: ``()`` or ``(C,)``, float64.
    """

    scale: Array
    shift: Array

    @property
    def shifts(self) -> bool:
        """True if any shift is not zero."""
        return bool(np.any(self.shift != 0))


def batch_normalization(gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float) -> Affine:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``; all ``(C,)``."""
    scale = gamma / np.sqrt(variance + epsilon)
    return Affine(scale, beta - mean * scale)


def per_channel(shape: Sequence[int], rank: int, axis: int, channels: int) -> str | None:
    """Why a constant of ``shape`` does not act per channel on a tensor of ``rank``; None if it does.

    Args:
        shape: Of the constant, aligned right as in NumPy broadcasting.
        rank: Of the tensor.
        axis: Channel axis of the tensor.
        channels: Its size.
    """
    if len(shape) > rank:
        return "broadcasting enlarges the shape"
    full = (1,) * (rank - len(shape)) + tuple(shape)
    if prod(full[:axis]) * prod(full[axis + 1 :]) != 1:
        return "constant is not scalar or per channel"
    return None if full[axis] in (1, channels) else "broadcasting enlarges the shape"


def after_conv(weight: Array, bias: Array, affine: Affine) -> tuple[Array, Array]:
    """Convolution, ``weight: (C_out, C_in / groups, *k)``, ``bias: (C_out,)``."""
    scale = np.broadcast_to(affine.scale, bias.shape)
    return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), bias * scale + affine.shift


def after_conv_transpose(weight: Array, bias: Array, affine: Affine, groups: int) -> tuple[Array, Array]:
    """Transposed convolution, ``weight: (C_in, C_out / groups, *k)``, ``bias: (C_out,)``."""
    scale = np.broadcast_to(affine.scale, bias.shape)
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    factor = scale.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))
    return (grouped * factor).reshape(weight.shape), bias * scale + affine.shift


def after_matmul(weight: Array, bias: Array, affine: Affine) -> tuple[Array, Array]:
    """Matrix product, ``weight: (K, N)``, ``bias: (N,)``."""
    scale = np.broadcast_to(affine.scale, bias.shape)
    return weight * scale, bias * scale + affine.shift


def before_conv(weight: Array, bias: Array, affine: Affine, groups: int) -> tuple[Array, Array]:
    """Convolution; a shift is exact only where no padding is read."""
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    shape = (groups, 1, -1, *(1,) * (weight.ndim - 2))
    channels = groups * weight.shape[1]
    scale = np.broadcast_to(affine.scale, channels).reshape(shape)
    shift = np.broadcast_to(affine.shift, channels).reshape(shape)
    moved = (grouped * shift).reshape(weight.shape[0], -1).sum(axis=1)
    return (grouped * scale).reshape(weight.shape), bias + moved


def before_conv_transpose(weight: Array, bias: Array, affine: Affine) -> tuple[Array, Array]:
    """Transposed convolution; scale only, since its border outputs read fewer inputs."""
    scale = np.broadcast_to(affine.scale, weight.shape[0])
    return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), bias


def before_matmul(weight: Array, bias: Array, affine: Affine) -> tuple[Array, Array]:
    """Matrix product over the rows of ``weight: (K, N)``."""
    scale = np.broadcast_to(affine.scale, weight.shape[0])
    shift = np.broadcast_to(affine.shift, weight.shape[0])
    return weight * scale[:, None], bias + shift @ weight
