"""Branches from one tensor that are convolutions, with the arithmetic of their sum: weights aligned on one kernel.

A tap at ``t`` reads ``o stride - begin + t dilation``: the sum of two convolutions has all places that either reads,
so its padding begins where the earlier one does and its dilation divides all distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.passes.fusion.affine import Affine, Array
from tamis.passes.fusion.affine_nodes import Channels, data_input, read_affine
from tamis.passes.fusion.linear_nodes import Linear, groups, read_linear
from tamis.passes.fusion.windows import Window, read_window


@dataclass(frozen=True)
class Branch:
    """One term of a sum, or several of them merged, as a convolution of the common input.

    Args:
        terms: Which terms of the sum it stands for.
        linear: ``W: (C_out, C_in / groups, *kernel)`` and ``b: (C_out,)``; its node is a Conv of the common input.
        window: Where it reads.
        macs: Multiplications per output element and input channel of a group: taps, 0 for an identity.
    """

    terms: tuple[int, ...]
    linear: Linear
    window: Window
    macs: int

    @property
    def weight(self) -> Array:
        return self.linear.weight

    @property
    def groups(self) -> int:
        """Of channels."""
        return groups(self.linear.node)

    @property
    def kind(self) -> tuple[object, ...]:
        """Branches that are alike here give outputs of equal shape for every input."""
        return self.weight.shape[:2], self.groups, self.window.strides, self.window.balance


def read_convolution(node: ir.Node, term: int) -> Branch | str:
    """A Conv as branch, or why it cannot be one."""
    linear = read_linear(node)
    if isinstance(linear, str):
        return linear
    window = read_window(node, linear.weight.shape[2:])
    if isinstance(window, str):
        return window
    return Branch((term,), linear, window, window.taps)


def takes_identity(branch: Branch) -> bool:
    """Whether ``branch`` gives, for every input, an output of the shape of its input."""
    keeps_size = set(branch.window.strides) == {1} and not any(branch.window.balance)
    return keeps_size and branch.weight.shape[0] == branch.weight.shape[1] * branch.groups


def read_identity(nodes: Sequence[ir.Node], term: int, like: Branch) -> Branch | str:
    """The common input, scaled and shifted by ``nodes``, the last one first, as a branch.

    Args:
        nodes: Affine nodes; none for the input itself.
        term: Which term of the sum it is.
        like: A branch that takes an identity beside it.
    """
    rank, channels = like.window.rank, like.weight.shape[0]
    ones, zeros = (1,) * rank, (0,) * rank
    window = Window(ones, ones, ones, zeros, zeros)
    total = Affine(np.ones(()), np.zeros(()))
    for node in reversed(nodes):
        data = data_input(node)
        assert data is not None
        step = read_affine(node, data, Channels(rank + 2, 1, channels))
        if isinstance(step, str):
            return step
        total = Affine(total.scale * step.scale, total.shift * step.scale + step.shift)
    weight = np.zeros((channels, like.weight.shape[1], *ones))
    own = np.arange(channels)
    weight[own, own % like.weight.shape[1]] = np.broadcast_to(total.scale, channels).reshape(-1, *ones)
    linear = replace(like.linear, weight=weight, bias=np.broadcast_to(total.shift, channels))
    return Branch((term,), linear, window, 0)


def merge_all(branches: Sequence[Branch]) -> list[Branch]:
    """Merge branches of one kind as far as that takes no more multiplications; the largest are tried first."""
    merged: list[Branch] = []
    for branch in sorted(branches, key=lambda b: (-b.macs, b.terms)):
        for i, other in enumerate(merged):
            window = union(branch.window, other.window)
            if window.taps <= branch.macs + other.macs:
                merged[i] = _add(other, branch, window)
                break
        else:
            merged.append(branch)
    return merged if len(merged) == len(branches) else merge_all(merged)


def union(a: Window, b: Window) -> Window:
    """The smallest window that reads wherever ``a`` or ``b`` does; both are of one kind."""
    begins = tuple(map(max, a.begins, b.begins))
    steps, kernel = [], []
    for i, begin in enumerate(begins):
        distances = [begin - w.begins[i] for w in (a, b)] + [w.dilations[i] for w in (a, b) if w.kernel[i] > 1]
        step = gcd(*distances) or 1
        last = max(w.spans[i] - w.begins[i] for w in (a, b))
        steps.append(step)
        kernel.append((last + begin) // step + 1)
    spans = (step * (size - 1) for step, size in zip(steps, kernel, strict=True))
    ends = tuple(n + s - begin for n, s, begin in zip(a.balance, spans, begins, strict=True))
    return Window(tuple(kernel), a.strides, tuple(steps), begins, ends)


def _add(a: Branch, b: Branch, window: Window) -> Branch:
    weight = np.zeros((*a.weight.shape[:2], *window.kernel))
    for branch in (a, b):
        weight[_places(branch.window, window)] += branch.weight
    linear = replace(a.linear, weight=weight, bias=a.linear.bias + b.linear.bias)
    return Branch(a.terms + b.terms, linear, window, window.taps)


def _places(part: Window, whole: Window) -> tuple[Any, ...]:
    """Where in the kernel of ``whole`` the taps of ``part`` are, as an index."""
    found: list[slice] = []
    for i, size in enumerate(part.kernel):
        start = (whole.begins[i] - part.begins[i]) // whole.dilations[i]
        step = max(1, part.dilations[i] // whole.dilations[i])
        found.append(slice(start, start + step * (size - 1) + 1, step))
    return (..., *found)
