"""Names, element types and shapes of a model's inputs, as the recipe and the samples fix them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TensorSpec:
    """One graph input.

    Args:
        name: As in the graph.
        dtype: Element type.
        shape: One entry a dimension: a size, or the name of a dynamic dimension of ``InputSpec.dims``.
        bounds: Smallest and largest legal value (for indices and the like); None if unknown.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class InputSpec:
    """All graph inputs and the range of each dynamic dimension.

    Args:
        tensors: In graph order.
        dims: Name of a dynamic dimension -> (smallest, largest) size, both inclusive.
    """

    tensors: tuple[TensorSpec, ...]
    dims: Mapping[str, tuple[int, int]]

    @property
    def static(self) -> bool:
        """True if no dimension is dynamic."""
        return not self.dims

    def corner_shapes(self) -> Iterator[dict[str, tuple[int, ...]]]:
        """Input name -> concrete shape, with every dynamic dimension at its smallest, then at its largest size."""
        for corner in (0, 1) if self.dims else (0,):
            yield {
                t.name: tuple(self.dims[d][corner] if isinstance(d, str) else d for d in t.shape) for t in self.tensors
            }
