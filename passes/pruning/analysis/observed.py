"""What the groups of a model do on samples, and what is lost with parts of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tamis.compiler.graph_pass import Feeds, Skip
from tamis.passes.pruning.analysis.activity import Activity, activity_of
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.importance.curve import Curve
from tamis.passes.pruning.importance.scores import score_groups
from tamis.passes.pruning.importance.zeros import ZeroStats, activation_zeros

CRITERION = "obs"
PARTS = (0.25, 0.5)
"""Of the units of a group, at which its loss is told."""


@dataclass(frozen=True)
class Observed:
    """Figures by samples.

    Args:
        zeros: Of values behind ReLU and its like.
        activity: Group -> its zeros; groups without such a value are missing.
        losses: Group -> part of the units, as text -> loss; groups without a curve are missing.
        skips: What could not be judged by the criterion, and why.
    """

    zeros: tuple[ZeroStats, ...]
    activity: Mapping[str, Activity]
    losses: Mapping[str, Mapping[str, float | None]]
    skips: tuple[Skip, ...]


def observe_groups(
    graph: AxisGraph,
    samples: Callable[[], Iterable[Feeds]],
    seed: int,
    progress: Callable[[float, str], None],
) -> Observed:
    """Run the model of ``graph`` on the samples, twice or more often.

    Raises:
        DataError, RuntimeFailureError: The samples do not fit the model, or it fails on them.
    """
    zeros = activation_zeros(graph.model, samples)
    several = [group for group in graph.groups if group.units > 1]
    scores = score_groups(graph, several, CRITERION, samples, seed=seed, progress=progress)
    stats = {each.name: each for each in zeros}
    active = {group.name: activity_of(group, stats) for group in graph.groups}
    return Observed(
        zeros,
        {name: found for name, found in active.items() if found is not None},
        {group.name: _losses(curve) for group, curve in scores.curves.items()},
        scores.skips,
    )


def _losses(curve: Curve) -> dict[str, float | None]:
    """Part of the units, rounded up -> loss; None where it is not finite."""
    values = {f"{part:g}": float(curve.loss[math.ceil(part * len(curve.order))]) for part in PARTS}
    return {part: value if math.isfinite(value) else None for part, value in values.items()}
