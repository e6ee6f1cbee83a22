"""What arrives at the outputs of the model when a group loses units: tried, one group at a time.

A quarter of the units go, in the order of the curve; the layers that read the group are refitted on some samples, and the
damage at the outputs is measured on others. The curve keeps its form and is scaled to that damage, so that losses of groups
are comparable: an error in a layer that the rest of the model forgives, or that the next layers repair, is cheap.

*References.* Dong et al., HAWQ-V2, 2020 (1911.03852), weighs layers by the curvature of the loss; here it is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.target import Runner
from tamis.passes.judging.sensitivity import damage_of, kinds_of_outputs, measure_sensitivities
from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.axis_graph import VIEWS, AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.axes.remove import remove
from tamis.passes.pruning.compensation.refit import refit
from tamis.passes.pruning.compensation.survivors import survivors
from tamis.passes.pruning.importance.curve import Curve

PART = 0.25
"""Of the units of a group that go in its trial."""
FITTED = 16
"""Samples that readers are refitted on, at most half of all."""
JUDGES = 64
"""Samples that damage is measured on."""
LEAST = 1e-3
"""A group's scale is at least this part of the median: what few samples do not show is not free."""

Samples = Callable[[], Iterable[Feeds]]


def scaled_by_trials(
    model: ir.Model,
    curves: Mapping[Group, Curve],
    samples: Samples,
    *,
    positions: int,
    seed: int,
    progress: Callable[[float, str], None],
) -> dict[Group, Curve]:
    """The curves, each scaled so that it meets the measured damage.

    Args:
        model: What the groups belong to; left as it is.
        curves: Of its groups.
        samples: Gives the samples from the start each time.
        positions: Rows of a sample and layer.
        seed: Of the choice of positions.
        progress: Gets (fraction done, a note).

    Returns:
        The curves as they are, if some trial's damage is not finite or none shows any.
    """
    chosen = list(islice(iter(samples()), FITTED + JUDGES))
    count = min(FITTED, -(-len(chosen) // 2))
    fitted, judges = chosen[:count], chosen[count:] or chosen
    reference = load_unoptimized(model)
    kinds = kinds_of_outputs(model, [reference(feeds) for feeds in judges])
    names = {group.name: curve for group, curve in curves.items()}
    variants = [partial(_trial, model, name, curve, fitted, positions, seed) for name, curve in names.items()]
    damage = np.asarray(damage_of(list(measure_sensitivities(reference, variants, judges, kinds, progress))))
    expected = np.asarray([curve.loss[_count(curve)] for curve in curves.values()])
    if not np.isfinite(damage).all() or damage.sum() <= 0:
        return dict(curves)
    scales = np.divide(damage, expected, out=np.zeros_like(damage), where=expected > 0)
    scales = np.maximum(scales, LEAST * np.median(scales[expected > 0])) if (expected > 0).any() else scales
    return {
        group: Curve(curve.order, curve.loss * scale)
        for (group, curve), scale in zip(curves.items(), scales.tolist(), strict=True)
    }


def _count(curve: Curve) -> int:
    """Units that go in a trial."""
    return max(1, round(PART * len(curve.order)))


def _trial(model: ir.Model, name: str, curve: Curve, fitted: Sequence[Feeds], positions: int, seed: int) -> Runner:
    """The model with some units of one group gone and the readers of the group refitted."""
    tried = model.clone()
    graph = AxisGraph(tried, VIEWS)
    group = graph.group(name)
    readers = [str(member.node.name) for member in group.with_role(Role.CONSUME)]
    left = survivors(remove(graph, {group: curve.first(_count(curve))}), tried.graph)
    refit(tried, model, left, lambda: fitted, positions=positions, seed=seed, only=readers)
    return load_unoptimized(tried)
