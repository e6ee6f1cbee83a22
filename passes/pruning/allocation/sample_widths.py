"""Widths to measure: the whole model, the narrowest one, and a Latin hypercube between them.

::

    n samples:  group g takes the nearest of its widths to  (low + (1 - low) (p_g(i) + u) / n) units,   i = 0 ... n - 1

with a random order ``p_g`` and a random ``u`` for each group, so that each group has all widths evenly, and independently
of the others.

*References.* McKay, Beckman, Conover, A comparison of three methods for selecting values of input variables, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.passes.pruning.allocation.widths import widths_of
from tamis.passes.pruning.axes.group import Group

LOW = 0.25
"""Smallest part of a group that is measured."""


def sample_widths(groups: Sequence[Group], count: int, multiple: int, seed: int) -> list[dict[Group, int]]:
    """``count`` different samples at most, at least the whole model; group -> units left.

    Args:
        groups: Those that may lose units.
        count: At least 2.
        multiple: Channels in a block of the target's kernels.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    between = max(0, count - 2)
    columns = {}
    for group in groups:
        widths = np.asarray(widths_of(group, multiple, LOW))
        parts = LOW + (1 - LOW) * (random.permutation(between) + random.random(between)) / max(1, between)
        nearest = np.abs(widths[None] - parts[:, None] * group.units).argmin(axis=1)
        columns[group] = [int(widths[0]), int(widths[-1]), *widths[nearest].tolist()]
    samples = [{group: column[i] for group, column in columns.items()} for i in range(2 + between)]
    different = {tuple(sample.values()): sample for sample in reversed(samples)}
    return [sample for sample in samples if different[tuple(sample.values())] is sample]
