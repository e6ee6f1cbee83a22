"""accuracy, top5 and roc-auc against counts by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.compiler.errors import DataError
from tamis.compiler.metrics.classification import Accuracy, RocAuc, Top5


def floats(data: Any) -> np.ndarray[Any, Any]:
    """A float32 array."""
    return np.array(data, np.float32)


def test_several_classes_may_be_right() -> None:
    metric = Accuracy()
    for labels in ([2, -1, -1], [0, 1, 2], [0, 1, -1]):
        metric.update({"y": floats([[0, 1, 5]])}, np.array(labels))
    assert metric.result() == 2 / 3


def test_an_unlabelled_sample_does_not_count() -> None:
    metric = Accuracy()
    metric.update({"y": floats([[0, 1]])}, np.array([-1]))
    metric.update({"y": floats([[0, 1]])}, np.array([1]))
    assert metric.result() == 1


def test_a_class_for_each_token() -> None:
    metric = Accuracy()
    scores = floats([[[1, 0], [0, 1], [1, 0], [np.nan, 1]]])
    metric.update({"y": scores}, np.array([[0, 0, -1, 1]]))
    assert metric.result() == 1 / 3


def test_of_equal_scores_the_first_wins() -> None:
    metric = Accuracy()
    metric.update({"y": floats([[1, 1, 1]])}, np.array(0))
    metric.update({"y": floats([[1, 1, 1]])}, np.array(1))
    assert metric.result() == 0.5


def test_top5_takes_the_fifth_but_not_the_sixth() -> None:
    metric = Top5()
    for label in (4, 3, 2):
        metric.update({"y": floats([[9, 8, 4, 5, 6, 7, 6.5]])}, np.array(label))
    assert metric.result() == 1 / 3


def test_the_first_output_is_judged() -> None:
    metric = Accuracy()
    metric.update({"a": floats([[0, 1]]), "b": floats([[1, 0]])}, np.array(1))
    assert metric.result() == 1


rows = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([-1, 0, 1])), min_size=1, max_size=12)


@settings(deadline=None, database=None)
@given(st.lists(rows, min_size=1, max_size=3))
def test_roc_auc_is_the_share_of_pairs_in_order(samples: list[list[tuple[float, int]]]) -> None:
    metric = RocAuc()
    for sample in samples:
        metric.update({"y": floats([[s for s, _ in sample]])}, np.array([label for _, label in sample]))
    flat = [pair for sample in samples for pair in sample]
    pairs = list(itertools.product([s for s, t in flat if t == 1], [s for s, t in flat if t == 0]))
    if pairs:
        wanted = sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)
        assert metric.result() == pytest.approx(wanted)
    else:
        with pytest.raises(DataError, match="at least one positive and one negative label"):
            metric.result()
