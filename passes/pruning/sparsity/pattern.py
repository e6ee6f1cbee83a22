"""Which weights of a matrix may stay: a share of all of them, or N of each M consecutive inputs of an output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
PATTERN = r"^(unstructured|[1-9][0-9]{0,2}:[1-9][0-9]{0,2})$"


@dataclass(frozen=True)
class Unstructured:
    """Zeros anywhere.

    Args:
        sparsity: Share of the weights that becomes zero.
    """

    sparsity: float

    @property
    def name(self) -> str:
        """In a word."""
        return f"{100 * self.sparsity:g} %"

    def zeros(self, count: int) -> int:
        """How many of ``count`` weights become zero."""
        return int(self.sparsity * count)

    def refusal(self, inputs: int) -> str | None:
        """Why a layer with so many inputs in a row cannot have the pattern."""
        return None

    def holds(self, matrices: Array) -> bool:
        """Whether ``(groups, K, N)`` has the pattern."""
        return bool(np.count_nonzero(matrices == 0) >= self.zeros(matrices.size))

    def lowest(self, scores: Array, *, by_output: bool) -> Mask:
        """What becomes zero: the lowest scores of ``(groups, K, N)``, of all weights or of each output by itself."""
        if by_output:
            count = self.zeros(scores.shape[-2])
            gone: Mask = np.argsort(np.argsort(scores, axis=-2, kind="stable"), axis=-2, kind="stable") < count
            missing = self.zeros(scores.size) - int(gone.sum())
            return gone if missing <= 0 else gone | _lowest(np.where(gone, np.inf, scores), missing)
        return _lowest(scores, self.zeros(scores.size))


@dataclass(frozen=True)
class Blocked:
    """At most ``kept`` weights other than zero among each ``block`` consecutive inputs of an output.

    Args:
        kept: N.
        block: M.
    """

    kept: int
    block: int

    @property
    def name(self) -> str:
        """In a word."""
        return f"{self.kept}:{self.block}"

    def refusal(self, inputs: int) -> str | None:
        """Why a layer with so many inputs in a row cannot have the pattern."""
        return f"input channels are no multiple of {self.block}" if inputs % self.block else None

    def holds(self, matrices: Array) -> bool:
        """Whether ``(groups, K, N)`` has the pattern; blocks lie along K."""
        return bool((np.count_nonzero(self._blocks(matrices), axis=-2) <= self.kept).all())

    def lowest(self, scores: Array, *, by_output: bool) -> Mask:
        """What becomes zero: the lowest scores of each block of ``(groups, K, N)``."""
        blocks = self._blocks(scores)
        ranks = np.argsort(np.argsort(blocks, axis=-2, kind="stable"), axis=-2, kind="stable")
        found: Mask = (ranks < self.block - self.kept).reshape(scores.shape)
        return found

    def _blocks(self, matrices: Array) -> Array:
        return matrices.reshape(*matrices.shape[:-2], -1, self.block, matrices.shape[-1])


Pattern = Unstructured | Blocked


def read_pattern(text: str, sparsity: float) -> Pattern:
    """Of the options: ``unstructured`` with a share of zeros, or ``N:M``.

    Raises:
        ValueError: N is not smaller than M.
    """
    found = re.match(r"^(\d+):(\d+)$", text)
    if found is None:
        return Unstructured(sparsity)
    kept, block = int(found[1]), int(found[2])
    if kept >= block:
        raise ValueError(f"{text}: of each {block} weights {kept} stay, so that none becomes zero")
    return Blocked(kept, block)


def _lowest(scores: Array, count: int) -> Mask:
    """The ``count`` lowest of all."""
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores, axis=None, kind="stable")[:count]] = True
    return mask.reshape(scores.shape)
