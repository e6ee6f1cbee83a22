"""Score the units of groups by one of the criteria."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tamis.compiler.errors import DataError, UsageError
from tamis.compiler.graph_pass import Feeds, Skip
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis import Slot
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.importance.activation_weighted import activation_weighted
from tamis.passes.pruning.importance.curve import Curve, cheapest_first
from tamis.passes.pruning.importance.geometric_median import median_distances
from tamis.passes.pruning.importance.obs import obs_curves
from tamis.passes.pruning.importance.weight_norms import weight_norms

CRITERIA = ("obs", "l2", "l1", "act", "fpgm", "random")
FROM_DATA = ("obs", "act")
"""Criteria that need samples."""
NOT_FINITE = "weights that are not finite"


@dataclass(frozen=True)
class Scores:
    """What is lost with the units of each group.

    Args:
        curves: A group whose weights are not finite has none.
        skips: Groups without a curve, and readers that are judged by less than the criterion asks for.
    """

    curves: dict[Group, Curve]
    skips: tuple[Skip, ...] = ()


def score_groups(
    graph: AxisGraph,
    groups: Sequence[Group],
    criterion: str,
    samples: Callable[[], Iterable[Feeds]] | None,
    *,
    positions: int = 256,
    seed: int = 0,
    block: int = 8,
    progress: Callable[[float, str], None] | None = None,
) -> Scores:
    """Order and loss of the units of each group; equal arguments give equal results.

    Args:
        graph: That the groups belong to.
        groups: Those to score.
        criterion: One of ``CRITERIA``.
        samples: Gives the samples from the start each time; None if there are none.
        positions: Of a sample and layer, for ``obs``.
        seed: Of the choice of positions, and of ``random``.
        block: Units that go between two orderings of the rest, for ``obs``; 1 is exactly greedy.
        progress: Gets the share of the work that is done, and the group at hand.

    Raises:
        UsageError: There is no such criterion.
        DataError: The criterion needs samples, and there are none.
    """
    if criterion not in CRITERIA:
        raise UsageError(f"no criterion {criterion!r}", expected=", ".join(CRITERIA), fix="choose one of these")
    if criterion in FROM_DATA and samples is None:
        raise DataError(
            f"importance {criterion!r} looks at what the model computes",
            expected="samples",
            found="none",
            fix="give calibration data, or choose l2, which looks at the weights alone",
        )
    usable = [group for group in groups if _is_finite(group)]
    skips = tuple(Skip(NOT_FINITE, group.name) for group in groups if group not in set(usable))
    if not usable:
        return Scores({}, skips)
    if criterion == "obs":
        assert samples is not None
        curves, more = obs_curves(
            graph.model, usable, graph.ties, samples, positions=positions, seed=seed, block=block, progress=progress
        )
    elif criterion == "act":
        assert samples is not None
        scores, more = activation_weighted(graph.model, usable, graph.ties, samples)
        curves = {group: cheapest_first(found) for group, found in scores.items()}
    else:
        curves, more = {group: _from_weights(group, criterion, seed) for group in usable}, ()
    return Scores(curves, (*skips, *more))


def _from_weights(group: Group, criterion: str, seed: int) -> Curve:
    if criterion == "random":
        order = np.random.default_rng((seed, zlib.crc32(group.name.encode()))).permutation(group.units)
        return Curve(order, np.linspace(0, 1, group.units + 1))
    if criterion == "fpgm":
        return cheapest_first(median_distances(group))
    return cheapest_first(weight_norms(group, 1 if criterion == "l1" else 2))


def _is_finite(group: Group) -> bool:
    slots = [m.axis.tensor for m in group.members if m.role is not None]
    arrays = (constant_array(slot.value) for slot in slots if isinstance(slot, Slot))
    return all(bool(np.isfinite(array).all()) for array in arrays if array is not None)
