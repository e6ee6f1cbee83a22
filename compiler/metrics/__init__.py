"""Task metrics: how well outputs agree with labels, over all samples.

A package adds a metric through the entry-point group ``tamis.metrics``: a class that follows ``Metric`` and
is made without arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from tamis.compiler import registry


class Metric(Protocol):
    """Counts over samples, then says one number. An instance is used for one pass over the samples.

    A class whose labels are about several samples, by their positions, has ``relates_samples = True``; then nothing is
    computed on a part of the samples.
    """

    name: ClassVar[str]
    """Kebab-case, as in the recipe."""
    higher_is_better: ClassVar[bool]

    def update(self, outputs: Mapping[str, np.ndarray[Any, Any]], labels: np.ndarray[Any, Any]) -> None:
        """Take in one sample.

        Args:
            outputs: Output name -> array, in graph order; NaN counts as wrong.
            labels: As the samples give them for this sample.

        Raises:
            DataError: The labels do not fit the outputs.
        """
        ...

    def result(self) -> float:
        """The metric over all samples.

        Raises:
            DataError: There was nothing to count.
        """
        ...


def get_metric(name: str) -> Metric:
    """A new instance of the metric ``name``.

    Raises:
        RegistryError: There is no metric of that name.
    """
    metric: Metric = registry.lookup("metrics", name)()
    return metric
