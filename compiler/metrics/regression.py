"""Metrics of outputs that are compared as numbers: masks, embeddings, values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tamis.compiler.errors import DataError
from tamis.compiler.metrics.label_check import Array, first_output, nothing_counted, same_size, zero_or_one


class Iou:
    """Intersection over union of the positive class, over all pixels of all samples.

    Outputs: any shape, positive where above 0.3 (the threshold of the PP-OCR text detectors); labels: as many,
    0 or 1. A NaN counts as the opposite of its label.
    """

    name: ClassVar[str] = "iou"
    higher_is_better: ClassVar[bool] = True
    threshold: ClassVar[float] = 0.3

    def __init__(self) -> None:
        self._both = 0
        self._either = 0

    def update(self, outputs: Mapping[str, Array], labels: Array) -> None:
        """Count the pixels of one sample."""
        output = first_output(outputs, self.name)
        same_size(output, labels, self.name)
        truth = zero_or_one(labels, self.name, ignored=False).reshape(-1) == 1
        flat = output.reshape(-1)
        found = np.where(np.isnan(flat), ~truth, flat > self.threshold)
        self._both += int((found & truth).sum())
        self._either += int((found | truth).sum())

    def result(self) -> float:
        """0 to 1."""
        if not self._either:
            raise nothing_counted(self.name, "at least one positive pixel")
        return self._both / self._either


class PearsonSimilarity:
    """Pearson correlation between cosine similarities of embeddings and similarities that people gave.

    Outputs: one embedding [1, D] a sample. Labels of sample i: row i of the N x N matrix of human similarities
    (with fewer samples, its first columns count). Pairs i < j are compared. An embedding that is zero or not
    finite is similar to nothing; embeddings that are all equally similar agree with nobody (0).
    """

    name: ClassVar[str] = "pearson-similarity"
    higher_is_better: ClassVar[bool] = True
    relates_samples: ClassVar[bool] = True
    """Labels are about pairs of samples, by their positions."""

    def __init__(self) -> None:
        self._embeddings: list[Array] = []
        self._rows: list[Array] = []

    def update(self, outputs: Mapping[str, Array], labels: Array) -> None:
        """Keep the embedding and the labels of one sample."""
        embedding = first_output(outputs, self.name).reshape(-1).astype(np.float64)
        for kept, new, what in (
            (self._embeddings, embedding, "embeddings"),
            (self._rows, labels.reshape(-1), "labels"),
        ):
            if kept and len(kept[0]) != len(new):
                found = f"{len(kept[0])} and {len(new)}"
                raise DataError(f"{what} of different lengths", where=f"metric {self.name}", found=found)
            kept.append(new)

    def result(self) -> float:
        """-1 to 1."""
        count = len(self._rows)
        if count < 3:
            raise nothing_counted(self.name, "at least 3 samples")
        if len(self._rows[0]) < count:
            expected = f"{count} similarities a sample"
            raise DataError(
                "labels are too short", where=f"metric {self.name}", expected=expected, found=str(len(self._rows[0]))
            )
        upper = np.triu_indices(count, 1)
        wanted = np.stack(self._rows)[:, :count].astype(np.float64)[upper]
        if np.ptp(wanted) == 0:
            raise nothing_counted(self.name, "similarities that are not all the same")
        found = _cosines(np.stack(self._embeddings))[upper]
        return _correlation(found, wanted)


def _cosines(embeddings: Array) -> Array:
    """Cosine similarity of each pair of rows; 0 with a row that is zero or not finite."""
    finite = np.isfinite(embeddings).all(axis=1, keepdims=True)
    rows = np.where(finite, embeddings, 0)
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True, initial=0), np.finfo(np.float64).tiny)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(rows @ rows.T)


def _correlation(a: Array, b: Array) -> float:
    """Pearson's coefficient; 0 if ``a`` does not vary beyond rounding."""
    a, b = a - a.mean(), b - b.mean()
    if np.abs(a).max() < 1e-12:
        return 0.0
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))


class MeanSquaredError:
    """Mean of (output - label)^2 over all values of all samples; infinite if an output is NaN.

    Outputs: any shape; labels: as many numbers.
    """

    name: ClassVar[str] = "mean-squared-error"
    higher_is_better: ClassVar[bool] = False

    def __init__(self) -> None:
        self._total = 0.0
        self._counted = 0

    def update(self, outputs: Mapping[str, Array], labels: Array) -> None:
        """Add up one sample."""
        output = first_output(outputs, self.name)
        same_size(output, labels, self.name)
        with np.errstate(over="ignore", invalid="ignore"):
            gap = output.reshape(-1).astype(np.float64) - labels.reshape(-1).astype(np.float64)
            total = float(gap @ gap)
        self._total += np.inf if np.isnan(total) else total
        self._counted += output.size

    def result(self) -> float:
        """At least 0, in squared units of the output."""
        if not self._counted:
            raise nothing_counted(self.name)
        return self._total / self._counted
