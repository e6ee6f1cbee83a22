"""Metrics of classifiers: the first output holds a score for each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tamis.compiler.errors import DataError
from tamis.compiler.metrics.label_check import (
    Array,
    first_output,
    integers,
    nothing_counted,
    same_size,
    zero_or_one,
)


class Accuracy:
    """Share of samples whose best-scored class is right.

    Outputs: scores [..., C]. With one row of scores, the labels are the accepted classes, padded with -1;
    with several rows (a class a pixel, a token, ...), one class a row, -1 where none is known. A row with a
    NaN counts as wrong. Of equal scores the first wins.
    """

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    best: ClassVar[int] = 1
    """How many of the best-scored classes may hold the right one."""

    def __init__(self) -> None:
        self._right = 0
        self._counted = 0

    def update(self, outputs: Mapping[str, Array], labels: Array) -> None:
        """Count one sample."""
        output = first_output(outputs, self.name, rank=1)
        scores = output.reshape(-1, output.shape[-1])
        accepted = integers(labels, self.name)
        if len(scores) == 1:
            accepted = accepted.reshape(1, -1)
        else:
            same_size(scores[:, 0], accepted, self.name)
            accepted = accepted.reshape(-1, 1)
        if accepted.size and not (accepted.min() >= -1 and accepted.max() < scores.shape[1]):
            expected = f"classes from 0 to {scores.shape[1] - 1}, or -1"
            found = f"{accepted.min()} to {accepted.max()}"
            raise DataError("labels out of range", where=f"metric {self.name}", expected=expected, found=found)
        known = (accepted >= 0).any(axis=1)
        top = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, : self.best]
        hit = (top[:, :, None] == accepted[:, None, :]).any(axis=(1, 2)) & ~np.isnan(scores).any(axis=1)
        self._right += int((hit & known).sum())
        self._counted += int(known.sum())

    def result(self) -> float:
        """Share of right ones, 0 to 1."""
        if not self._counted:
            raise nothing_counted(self.name)
        return self._right / self._counted


class Top5(Accuracy):
    """Share of samples with a right class among the five best-scored; otherwise as ``accuracy``."""

    name: ClassVar[str] = "top5"
    best: ClassVar[int] = 5


class RocAuc:
    """Area under the ROC curve: chance that a positive is scored above a negative, ties counting half.

    Outputs: any shape; labels: as many, 1 or 0, -1 ignored. A NaN counts as the worst score for its label.

    References: Fawcett, "An introduction to ROC analysis", 2006, section 7: the area equals the
    Mann-Whitney U statistic, which average ranks give.
    """

    name: ClassVar[str] = "roc-auc"
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self._scores: list[Array] = []
        self._labels: list[Array] = []

    def update(self, outputs: Mapping[str, Array], labels: Array) -> None:
        """Keep the scores and labels of one sample."""
        output = first_output(outputs, self.name)
        same_size(output, labels, self.name)
        truth = zero_or_one(labels, self.name, ignored=True).reshape(-1)
        scores = output.reshape(-1).astype(np.float64)
        scores = np.where(np.isnan(scores), np.where(truth == 1, -np.inf, np.inf), scores)
        self._scores.append(scores[truth >= 0])
        self._labels.append(truth[truth >= 0])

    def result(self) -> float:
        """The area, 0 to 1."""
        from scipy.stats import rankdata

        truth = np.concatenate([np.empty(0, np.int64), *self._labels])
        positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
        if not positives or not negatives:
            raise nothing_counted(self.name, "at least one positive and one negative label")
        ranks = np.asarray(rankdata(np.concatenate(self._scores)))
        above = float(ranks[truth == 1].sum()) - positives * (positives + 1) / 2
        return above / (positives * negatives)
