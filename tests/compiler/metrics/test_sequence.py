"""char-accuracy: CTC decoding and edit distance against the plain definitions."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.compiler.metrics.sequence import CharAccuracy, best_path, edit_distance

symbols = st.lists(st.integers(0, 3), max_size=8)


def one_hot(path: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.eye(4, dtype=np.float32)[path]


@settings(deadline=None, database=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_repeats_merge_and_blanks_go(path: list[int]) -> None:
    assert best_path(one_hot(path)).tolist() == [symbol for symbol, _ in groupby(path) if symbol != 0]


@settings(deadline=None, database=None)
@given(symbols, symbols)
def test_edit_distance_is_the_smallest_number_of_edits(a: list[int], b: list[int]) -> None:
    @cache
    def plain(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(plain(i - 1, j) + 1, plain(i, j - 1) + 1, plain(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    assert edit_distance(np.array(a, np.int64), np.array(b, np.int64)) == plain(len(a), len(b))


def test_edits_are_summed_over_lines() -> None:
    metric = CharAccuracy()
    metric.update({"y": one_hot([1, 1, 0, 1, 2])[None]}, np.array([[1, 1, 2, -1]]))
    metric.update({"y": one_hot([3, 0, 0])[None]}, np.array([2, 3, 1]))
    assert metric.result() == pytest.approx(1 - 2 / 6)


def test_made_up_text_can_cost_more_than_there_is() -> None:
    metric = CharAccuracy()
    metric.update({"y": one_hot([1, 2, 3])[None]}, np.array([[0]]))
    assert metric.result() == -2


def test_a_line_with_nan_is_not_read() -> None:
    metric = CharAccuracy()
    scores = one_hot([1, 0, 2])[None].copy()
    scores[0, 1, 3] = np.nan
    metric.update({"y": scores}, np.array([[1, 2]]))
    assert metric.result() == 0


def test_a_batch_of_lines() -> None:
    metric = CharAccuracy()
    metric.update({"y": np.stack([one_hot([1, 2]), one_hot([3, 0])])}, np.array([[1, 2], [1, -1]]))
    assert metric.result() == pytest.approx(1 - 1 / 3)
