"""Widths to measure: even, independent, from the whole to the narrowest."""

from __future__ import annotations

import numpy as np

from tamis.passes.pruning.allocation.sample_widths import LOW, sample_widths
from tamis.passes.pruning.allocation.widths import widths_of
from tests.passes.pruning.allocation.allocation_nets import group

GROUPS = [group("a", 128), group("b", 96), group("c", 24)]


def test_the_whole_and_the_narrowest_come_first() -> None:
    samples = sample_widths(GROUPS, 10, 8, 0)
    assert len(samples) == 10
    assert list(samples[0].values()) == [128, 96, 24]
    assert list(samples[1].values()) == [32, 24, 8]


def test_all_are_proposed_widths_and_spread_evenly() -> None:
    samples = sample_widths(GROUPS, 14, 8, 1)
    for each in GROUPS:
        found = [sample[each] for sample in samples]
        assert set(found) <= set(widths_of(each, 8, LOW))
    wide = np.sort([sample[GROUPS[0]] for sample in samples[2:]])
    middles = 128 * (LOW + (1 - LOW) * (np.arange(12) + 0.5) / 12)
    assert np.abs(wide - middles).max() <= 4 + 128 * (1 - LOW) / 24


def test_the_seed_decides() -> None:
    first, again, other = (sample_widths(GROUPS, 12, 8, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_nothing_is_measured_twice() -> None:
    assert [list(s.values()) for s in sample_widths([group("a", 16)], 12, 8, 0)] == [[16], [8]]
    assert sample_widths([], 12, 8, 0) == [{}]
