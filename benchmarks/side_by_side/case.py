"""What a method is given: a model and data in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zoo.onnx_session import session

Feeds = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Case:
    """A model with its data, as ``split`` has cut it.

    Args:
        name: Of the entry of the zoo.
        folder: The entry's folder: the model and the recipe.
        data: Folder with ``calibration.npz``, ``selection.npz`` and ``test.npz``.
        metric: Name of the task metric.
        max_drop: The most that the metric may fall, for methods that can be told.
        threads: Of the models that are timed.
    """

    name: str
    folder: Path
    data: Path
    metric: str
    max_drop: float
    threads: int

    @property
    def model(self) -> Path:
        """The float32 model."""
        return self.folder / "model.onnx"

    def feeds(self, part: str) -> list[Feeds]:
        """Samples of ``calibration``, ``selection`` or ``test``, without labels."""
        ranks = {value.name: len(value.shape) for value in session(self.model).get_inputs()}
        with np.load(self.data / f"{part}.npz") as file:
            arrays = {name: file[name] for name in ranks}
        count = len(next(iter(arrays.values())))
        return [
            {n: np.asarray(a[i] if a.ndim > ranks[n] else a[i : i + 1]) for n, a in arrays.items()}
            for i in range(count)
        ]

    def labels(self, part: str) -> Iterator[np.ndarray[Any, Any]]:
        """Labels of ``selection`` or ``test``, a sample at a time."""
        with np.load(self.data / f"{part}.npz") as file:
            yield from (np.asarray(labels) for labels in file["labels"])
