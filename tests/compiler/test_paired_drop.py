"""Drops with their standard errors, on candidates whose answers are known sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tamis.compiler import paired_drop
from tamis.compiler.data.samples import Samples
from tamis.compiler.evaluate import Evaluation
from tamis.compiler.paired_drop import GROUPS, PairedDrop

Array = np.ndarray[Any, Any]


class Numbered(Samples):
    """Sample i is the number i."""

    labelled = True

    def __init__(self, labels: Sequence[Any] | Array) -> None:
        self._labels = [np.asarray(label) for label in labels]

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return ({"x": np.asarray([i])} for i in range(len(self)))

    def digest(self) -> str:
        return "numbered"

    def labels(self, index: int) -> Array:
        return self._labels[index]


class Answers:
    """A runner with an answer for each sample; remembers what it was asked."""

    input_names = ("x",)
    output_names = ("y",)

    def __init__(self, answers: Sequence[Any] | Array) -> None:
        self.answers = answers
        self.asked: list[int] = []

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        i = int(feeds["x"][0])
        self.asked.append(i)
        return {"y": np.asarray(self.answers[i])}


def classified(right: Sequence[bool] | Array) -> Answers:
    """Scores of two classes; class 0 is the right one."""
    return Answers([np.asarray([[1.0, 0.0] if r else [0.0, 1.0]], np.float32) for r in right])


def accuracy(count: int) -> Evaluation:
    return Evaluation(Numbered([0] * count), "accuracy")


def test_the_error_is_the_spread_of_blocks_in_the_order_of_the_file() -> None:
    right = np.ones(100, bool)
    right[[3, 4, 5, 27, 61]] = False
    found = PairedDrop(accuracy(100), classified(np.ones(100, bool)), 1.0, quiet=True).measure(classified(right))
    blocks = [0.3, 0, 0.1, 0, 0, 0, 0.1, 0, 0, 0]
    assert found.value == pytest.approx(0.05)
    assert found.error == pytest.approx(np.std(blocks, ddof=1) / np.sqrt(10))
    assert found.samples == 100


def test_what_both_get_wrong_counts_for_nothing() -> None:
    right = np.arange(100) % 3 > 0
    found = PairedDrop(accuracy(100), classified(right), float(right.mean()), quiet=True).measure(classified(right))
    assert (found.value, found.error) == (0.0, 0.0)


def test_the_error_is_that_of_many_draws() -> None:
    """Of 80 draws of 100 samples, of which a tenth is won and a tenth is lost."""
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(80):
        fate = rng.random(100)
        before, after = fate < 0.9, fate >= 0.1
        meter = PairedDrop(accuracy(100), classified(before), float(before.mean()), quiet=True)
        found = meter.measure(classified(after))
        assert found.error is not None
        values.append(found.value)
        errors.append(found.error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.2)


def test_a_hopeless_candidate_is_given_up_after_a_part() -> None:
    meter = PairedDrop(accuracy(200), classified(np.ones(200, bool)), 1.0, quiet=True)
    hopeless = classified(np.arange(200) % 2 > 0)
    found = meter.measure(hopeless, 0.01)
    assert found.samples == len(hopeless.asked) == 50
    assert found.value == pytest.approx(0.5, abs=0.2)
    assert max(hopeless.asked) > 100  # a part of all, not the first ones
    assert meter.measure(hopeless).samples == 200


def test_a_candidate_near_the_limit_is_looked_at_whole() -> None:
    meter = PairedDrop(accuracy(200), classified(np.ones(200, bool)), 1.0, quiet=True)
    right = np.ones(200, bool)
    right[::50] = False
    assert meter.measure(classified(right), 0.01).samples == 200


def test_drops_count_from_the_baseline() -> None:
    right = np.arange(100) % 10 > 0
    meter = PairedDrop(accuracy(100), classified(right), 1.0, quiet=True)
    assert meter.measure(classified(right)).value == pytest.approx(0.1)
    assert meter.measure(classified(np.ones(100, bool))).value == pytest.approx(0.0)


def test_labels_about_other_samples_are_never_cut() -> None:
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(40, 1, 4))
    evaluation = Evaluation(Numbered(rng.random((40, 40))), "pearson-similarity")
    meter = PairedDrop(evaluation, Answers(embeddings), 1.0, quiet=True)
    candidate = Answers(-embeddings + rng.normal(size=embeddings.shape))
    found = meter.measure(candidate, -5.0)
    assert found.error is None
    assert candidate.asked == list(range(40))


def test_blocks_without_a_value_leave_the_error_open() -> None:
    labels = [1] * 20 + [0] * 20
    meter = PairedDrop(
        Evaluation(Numbered(labels), "roc-auc"), Answers(np.arange(40)[::-1, None] / 40), 1.0, quiet=True
    )
    found = meter.measure(Answers(np.zeros((40, 1))), -5.0)
    assert found.value == pytest.approx(0.5)
    assert (found.error, found.samples) == (None, 40)


def test_large_samples_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired_drop, "MEMORY", 100)
    meter = PairedDrop(accuracy(100), classified(np.ones(100, bool)), 1.0, quiet=True)
    hopeless = classified(np.zeros(100, bool))
    found = meter.measure(hopeless, 0.01)
    assert (found.value, found.samples) == (1.0, 100)
    assert hopeless.asked == list(range(100))


@pytest.mark.parametrize("count", [1, 2, GROUPS - 1])
def test_fewer_samples_than_blocks(count: int) -> None:
    meter = PairedDrop(accuracy(count), classified([True] * count), 1.0, quiet=True)
    found = meter.measure(classified([False] + [True] * (count - 1)))
    assert found.value == pytest.approx(1 / count)
    assert (found.error is None) is (count == 1)
