"""Metrics of recognisers that read a line of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tamis.compiler.errors import DataError
from tamis.compiler.metrics.label_check import Array, first_output, integers, nothing_counted

BLANK = 0


class CharAccuracy:
    """1 - edits / characters, over all lines: how much of the text is read right.

    Outputs: CTC scores [B, T, C], class 0 is the blank; decoded greedily (the best class of each step,
    repeats merged, blanks dropped). Labels: [B, L] or [L], class indices padded with -1. Edits are
    insertions, deletions and substitutions. A line with a NaN counts as not read at all. Below 0 if more
    is made up than is right.

    References: Graves et al., "Connectionist Temporal Classification", ICML 2006, section 3.2 (best path
    decoding).
    """

    name: ClassVar[str] = "char-accuracy"
    higher_is_better: ClassVar[bool] = True

    def __init__(self) -> None:
        self._edits = 0
        self._length = 0

    def update(self, outputs: Mapping[str, Array], labels: Array) -> None:
        """Count the edits of one sample."""
        scores = first_output(outputs, self.name, rank=3)
        truth = integers(labels, self.name)
        if scores.ndim != 3 or truth.size % max(len(scores), 1):
            expected = "scores [B, T, C] and labels [B, L]"
            found = f"{list(scores.shape)} and {list(labels.shape)}"
            raise DataError("labels do not fit the output", where=f"metric {self.name}", expected=expected, found=found)
        for line, wanted in zip(scores, truth.reshape(len(scores), -1), strict=True):
            wanted = wanted[wanted >= 0]
            found_line = np.empty(0, np.int64) if np.isnan(line).any() else best_path(line)
            self._edits += edit_distance(found_line, wanted)
            self._length += len(wanted)

    def result(self) -> float:
        """At most 1."""
        if not self._length:
            raise nothing_counted(self.name)
        return 1 - self._edits / self._length


def best_path(scores: Array) -> Array:
    """Greedy CTC decoding of scores [T, C]: class indices, int64, without blanks and repeats."""
    best = scores.argmax(axis=1)
    changed = np.append(True, best[1:] != best[:-1])[: len(best)]
    kept: Array = best[changed & (best != BLANK)]
    return kept


def edit_distance(a: Array, b: Array) -> int:
    """Levenshtein distance of two sequences of integers.

    One row of the table at a time; within a row, insertions are a running minimum:
    ``row[j] = min over k <= j of (row[k] + j - k)``.
    """
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for i, item in enumerate(a):
        above = np.append(i + 1, np.minimum(row[1:] + 1, row[:-1] + (b != item)))
        row = np.minimum.accumulate(above - steps) + steps
    return int(row[-1])
