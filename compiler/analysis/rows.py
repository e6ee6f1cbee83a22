"""Rows of the analysis: what a node, or all of one kind, costs and takes, and how much of that lies outside the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tamis.compiler.analysis.node_costs import Cost
from tamis.compiler.analysis.tensor_size import total

Bound = Literal["compute", "memory"]


@dataclass(frozen=True)
class Row:
    """One kernel, or several of one kind.

    Args:
        name: Of the node with most of the work, or of the kind.
        kind: Operator with what matters of its shape, e.g. ``Conv depthwise``.
        cost: By shapes alone.
        fused: Operators that run in the same kernel, in order; empty for a single node.
        count: Kernels.
        nanoseconds: Measured, a run of the model; None if nothing was measured.
        attainable: Nanoseconds that the roofline allows; None if it is not known.
        bound: Which of the two ceilings that is.
        int8: The MACs are of 8-bit integers.
    """

    name: str
    kind: str
    cost: Cost
    fused: tuple[str, ...] = ()
    count: int = 1
    nanoseconds: float | None = None
    attainable: float | None = None
    bound: Bound | None = None
    int8: bool = False

    @property
    def outside(self) -> float | None:
        """Nanoseconds beyond what the roofline allows; None if that is not known."""
        if self.nanoseconds is None or self.attainable is None:
            return None
        return max(0.0, self.nanoseconds - self.attainable)

    @property
    def intensity(self) -> float | None:
        """MACs for each byte moved; None if not known."""
        macs, moved = self.cost.macs, self.cost.moved
        return None if macs is None or not moved else macs / moved

    @property
    def rate(self) -> float | None:
        """MACs a second; None if nothing was measured."""
        if not self.nanoseconds or self.cost.macs is None:
            return None
        return self.cost.macs / self.nanoseconds * 1e9

    def to_dict(self) -> dict[str, Any]:
        """As JSON data; times in nanoseconds, sizes in bytes."""
        return {
            "name": self.name,
            "kind": self.kind,
            "fused": list(self.fused),
            "count": self.count,
            "macs": self.cost.macs,
            "element_ops": self.cost.element_ops,
            "parameters": self.cost.parameters,
            "bytes_read": self.cost.read,
            "bytes_written": self.cost.written,
            "macs_per_byte": self.intensity,
            "note": self.cost.note or None,
            "nanoseconds": self.nanoseconds,
            "attainable_nanoseconds": self.attainable,
            "outside_nanoseconds": self.outside,
            "bound": self.bound,
        }


def by_kind(rows: Sequence[Row]) -> list[Row]:
    """One row a kind, that with most time (or MACs) first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.kind, []).append(row)
    return ranked([_sum(kind, group) for kind, group in groups.items()])


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Those with most time first; without times, those with most MACs, then bytes. What is not known comes first."""

    def weight(row: Row) -> tuple[float, bool, int, int]:
        macs, moved = row.cost.macs, row.cost.moved
        return row.nanoseconds or 0.0, macs is None, macs or 0, moved or 0

    return sorted(rows, key=weight, reverse=True)


def _sum(kind: str, rows: Sequence[Row]) -> Row:
    """The rows of one kind as one; ceilings are not known together if one of them is not."""
    costs = [row.cost for row in rows]
    cost = Cost(
        macs=total(c.macs for c in costs),
        element_ops=total(c.element_ops for c in costs),
        parameters=sum(c.parameters for c in costs),
        read=total(c.read for c in costs),
        written=total(c.written for c in costs),
        note=", ".join(dict.fromkeys(c.note for c in costs if c.note)),
    )
    measured = [row.nanoseconds for row in rows if row.nanoseconds is not None]
    nanoseconds = sum(measured) if len(measured) == len(rows) else None
    found = Row(kind, kind, cost, count=sum(row.count for row in rows), nanoseconds=nanoseconds)
    outside = [row.outside for row in rows if row.outside is not None]
    if nanoseconds is None or len(outside) < len(rows):
        return found
    bounds = {row.bound for row in rows}
    return replace(found, attainable=nanoseconds - sum(outside), bound=bounds.pop() if len(bounds) == 1 else None)
