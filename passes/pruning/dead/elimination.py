"""Take channels that do nothing out of a model, over and over until there are none.

Each round looks at one view of the axis graph: which units do nothing, whose share biases and weights take over, and out
they go. A layer that is smaller may leave channels of the one before it without a reader, which the next round finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Detail, Skip
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.pruning.axes.axis import Indices, Role
from tamis.passes.pruning.axes.axis_graph import VIEWS, AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.axes.remove import remove
from tamis.passes.pruning.dead.duplicates import Duplicates
from tamis.passes.pruning.dead.evidence import Evidence
from tamis.passes.pruning.dead.selection import how_many
from tamis.passes.pruning.dead.takeover import take_over
from tamis.passes.pruning.dead.verdict import Cause, Verdict, judge_group
from tamis.passes.pruning.dead.weights import all_finite, silent

TAKEN_OVER = (Cause.CONSTANT, Cause.DUPLICATE)
"""Causes of units whose share something else takes over."""
NOT_FINITE = "weights are not finite"
STUCK = "constant channels that no bias can take over"
WHY = {
    Cause.UNREAD: "nothing reads it",
    Cause.ZERO: "zero {when}",
    Cause.CONSTANT: "one number {when}",
    Cause.DUPLICATE: "equal to a channel that stays {when}",
}


class Elimination:
    """Channels of one model that do nothing, and their removal.

    Args:
        model: Changed in place.
        evidence: Makes what tells what is known of a model as it is.
        multiple: Of channels, see ``how_many``.
        when: On what inputs the evidence holds, for messages.

    Attributes:
        counts: Cause -> channels that went.
        details: Each group that lost channels, with the causes.
    """

    def __init__(
        self,
        model: ir.Model,
        evidence: Callable[[ir.Model], Evidence],
        multiple: int = 1,
        when: str = "for all inputs",
    ) -> None:
        self._model = model
        self._when = when
        self._find_out = evidence
        self._evidence: Evidence | None = None
        self._skips: dict[int, dict[Skip, None]] = {}
        self._multiple = multiple
        self.counts: Counter[Cause] = Counter()
        self.details: list[Detail] = []

    @property
    def skips(self) -> tuple[Skip, ...]:
        """What stays although it does nothing, and what was not looked at; each once."""
        return tuple(dict.fromkeys(skip for skips in self._skips.values() for skip in skips))

    def run(self) -> bool:
        """Until nothing is left to do; whether anything was done."""
        views = VIEWS if any(n.op_type == "Reshape" or _is_grouped(n) for n in self._model.graph) else VIEWS[:1]
        idle, turn, done = 0, 0, False
        while idle < len(views):
            if self._round(views[turn]):
                idle, done, self._evidence = 0, True, None
            else:
                idle, turn = idle + 1, (turn + 1) % len(views)
        return done

    def _round(self, view: int) -> bool:
        graph = AxisGraph(self._model, (view,))
        skips = self._skips[view] = {}
        verdicts = self._verdicts(graph, skips)
        duplicates = Duplicates()
        for verdict in verdicts:
            duplicates.leave(verdict)
        chosen: dict[Verdict, list[int]] = {}
        for verdict in verdicts:
            verdict.causes.update(dict.fromkeys(duplicates.find(verdict), Cause.DUPLICATE))
            count, skip = how_many(verdict.group, len(verdict.causes), self._multiple)
            if skip is not None:
                skips[skip] = None
            if count:
                chosen[verdict] = list(verdict.causes)[:count]
        if not chosen:
            return False
        self._record(chosen)
        graph = self._without_readers(graph, view, chosen, duplicates)
        remove(graph, _found_again(graph, chosen))
        return True

    def _verdicts(self, graph: AxisGraph, skips: dict[Skip, None]) -> list[Verdict]:
        evidence = self._evidence = self._evidence or self._find_out(self._model)
        evidence.look(graph)
        found = []
        for group in graph.groups:
            if not all_finite(group):
                skips[Skip(NOT_FINITE, group.name)] = None
                continue
            verdict = judge_group(graph, group, evidence)
            if verdict.stuck:
                skips[Skip(STUCK, group.name)] = None
            found.append(verdict)
        return found

    def _without_readers(
        self, graph: AxisGraph, view: int, chosen: dict[Verdict, list[int]], duplicates: Duplicates
    ) -> AxisGraph:
        """Let others take over what constant and duplicate units add; the graph as it is then."""
        names = Names(self._model)
        changed = False
        for verdict, units in chosen.items():
            heavy = [u for u in units if verdict.causes[u] in TAKEN_OVER]
            for reader in verdict.readers if heavy else ():
                gone: Indices = reader.member.positions[heavy].ravel()
                present = set(gone.tolist())
                twins = {p: q for p, q in duplicates.twins[reader.member.axis].items() if p in present}
                take_over(reader, gone, twins, names)
                changed = True
        return AxisGraph(self._model, (view,)) if changed else graph

    def _record(self, chosen: dict[Verdict, list[int]]) -> None:
        for verdict, units in chosen.items():
            found = Counter(verdict.causes[u] for u in units)
            self.counts.update(found)
            for cause, count in found.items():
                figures = {"channels": float(count), "of": float(verdict.group.units)}
                self.details.append(Detail(verdict.group.name, "removed", WHY[cause].format(when=self._when), figures))


def _found_again(graph: AxisGraph, chosen: dict[Verdict, list[int]]) -> dict[Group, Indices]:
    """The chosen units, in the graph as it is now; what a new bias has changed is left to the next round."""
    groups = {group.name: group for group in graph.groups}
    found: dict[Group, Indices] = {}
    for verdict, units in chosen.items():
        group = groups.get(verdict.group.name)
        heavy = [u for u in units if verdict.causes[u] in TAKEN_OVER]
        if group is None or group.units != verdict.group.units:
            continue
        if all(silent(m.axis)[m.positions[heavy]].all() for m in group.with_role(Role.CONSUME)):
            found[group] = np.asarray(units)
    return found


def _is_grouped(node: ir.Node) -> bool:
    return node.op_type in ("Conv", "ConvTranspose") and node.attributes.get_int("group", 1) > 1
