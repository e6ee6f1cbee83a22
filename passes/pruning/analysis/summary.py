"""The lines above the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from tamis.passes.pruning.allocation.cost import Cost
from tamis.passes.pruning.analysis.observed import Observed
from tamis.passes.pruning.axes.axis_graph import AxisGraph

NAMED = 4
"""Reasons that are named."""


def summarize_structure(graph: AxisGraph, costs: Mapping[str, Cost | None], multiple: int) -> dict[str, str]:
    """What can go, what half of it saves, what is frozen."""
    units, frozen = (sum(each.units for each in part) for part in (graph.groups, graph.frozen))
    summary = {"can go": f"{units} units in {len(graph.groups)} groups; {frozen} units are frozen"}
    if not graph.groups:
        summary["can go"] = f"nothing: {frozen} units are frozen" if frozen else "nothing: no weights make channels"
    else:
        half = {group: math.ceil(group.units / 2) for group in graph.groups}
        saved = [f"{_share(1 - c.whole(half) / c.whole({}))} of the {u}" for u, c in costs.items() if c and c.whole({})]
        summary["half of each group"] = f"saves {' and '.join(saved)}" if saved else "sizes are not known"
        summary["multiple"] = f"{multiple} channels; a block is the fewest units that fill it"
    reasons: Counter[str] = Counter()
    for each in graph.frozen:
        reasons.update(dict.fromkeys(each.reasons, each.units))
    if reasons:
        summary["frozen because"] = _counted(reasons)
    return summary


def summarize_activity(observed: Observed) -> dict[str, str]:
    """Zeros, channels that are never active, what could not be judged."""
    zeros = observed.zeros
    summary = {"zeros": "no value is behind ReLU or its like"}
    if zeros:
        share, blocks = (
            sum(part) / len(zeros) for part in zip(*((z.share, z.blocks_of_eight) for z in zeros), strict=True)
        )
        dead = sum(int((each.per_channel == 1).sum()) for each in zeros)
        summary["zeros"] = (
            f"{_share(share)} of what ReLU and its like give, mean over {len(zeros)} values; {_share(blocks)} of aligned "
            "blocks of eight channels; no kernel skips them"
        )
        summary["never active"] = (
            f"{dead} of {sum(len(z.per_channel) for z in zeros)} channels of them, on these samples"
        )
    if observed.skips:
        summary["remarks"] = _counted(Counter(skip.reason for skip in observed.skips))
    return summary


def _counted(reasons: Counter[str]) -> str:
    named = [f"{reason} ({count})" for reason, count in reasons.most_common(NAMED)]
    return "; ".join([*named, *([f"{len(reasons) - NAMED} other reasons"] if len(reasons) > NAMED else [])])


def _share(part: float) -> str:
    return f"{100 * part:.0f} %"
