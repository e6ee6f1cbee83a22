"""The rows of the table: a group each, then what is frozen."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.passes.pruning.analysis.group_report import GroupReport
from tamis.passes.pruning.analysis.observed import PARTS, Observed
from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.group import Frozen

STRUCTURE = (
    "group",
    "units",
    "channels",
    "block",
    "made by",
    "read by",
    "MACs/unit",
    "MACs/block",
    "B/unit",
    "B/block",
)
ACTIVITY = ("dead", "zeros", "in eights")
LOSSES = tuple(f"loss {100 * part:.0f} %" for part in PARTS)
SMALLEST = 1e-4
"""Shares below are as good as nothing."""


def columns(*, is_observed: bool) -> tuple[str, ...]:
    """Of the table."""
    return (*STRUCTURE, *((*ACTIVITY, *LOSSES) if is_observed else ()), "note")


def group_row(report: GroupReport, observed: Observed | None) -> tuple[object, ...]:
    """A group: what it is, what a unit and a block of it save, and what it does."""
    row = (
        report.name,
        report.units,
        report.positions,
        report.block,
        len(report.nodes(Role.PRODUCE)),
        _nodes(report.nodes(Role.CONSUME)),
        *(_count(saves[unit]) for unit in ("MACs", "bytes") for saves in (report.unit_saves, report.block_saves)),
    )
    return (*row, *(() if observed is None else _figures(report.name, observed)), _note(report))


def frozen_row(frozen: Frozen, *, is_observed: bool) -> tuple[object, ...]:
    """What weights produce and cannot go."""
    empty = len(columns(is_observed=is_observed)) - 3
    return frozen.name, frozen.units, *[None] * empty, f"frozen: {'; '.join(frozen.reasons)}"


def _figures(name: str, observed: Observed) -> tuple[object, ...]:
    activity, losses = observed.activity.get(name), observed.losses.get(name)
    shares = [None] * len(ACTIVITY) if activity is None else [activity.dead, activity.zeros, activity.blocks_of_eight]
    lost = [None] * len(LOSSES) if losses is None else list(losses.values())
    return tuple(None if share is None else _percent(share) for share in (*shares, *lost))


def _percent(share: float) -> str:
    if 0 < share < SMALLEST:
        return f"< {100 * SMALLEST:g} %"
    return f"{100 * share:.0f} %" if share >= 1 else f"{100 * share:.2g} %"


def _note(report: GroupReport) -> str | None:
    if report.units == 1:
        return "a single unit has to stay"
    return "less than two blocks" if report.units <= report.block else None


def _nodes(names: Sequence[str]) -> str:
    return f"{names[0]} +{len(names) - 1}" if len(names) > 1 else "".join(names)


def _count(value: float | None) -> str | None:
    if value is None:
        return None
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"
