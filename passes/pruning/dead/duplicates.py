"""Channels that equal another one that stays.

::

    y = W_p x_p + W_q x_q + ...,  x_p = x_q     ->     y = (W_q + W_p) x_q + ...
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tamis.passes.pruning.axes.axis import Axis, Indices
from tamis.passes.pruning.dead.fact import Array
from tamis.passes.pruning.dead.verdict import Verdict

Twins = dict[Axis, dict[int, int]]
"""Input axis of a weight -> position that goes -> equal position that takes its weights over."""


class Duplicates:
    """Finds units whose channels equal others, unit by unit; those found before are no longer there to be equal to.

    Attributes:
        twins: What takes over.
    """

    def __init__(self) -> None:
        self.twins: Twins = defaultdict(dict)
        self._gone: dict[Axis, set[int]] = defaultdict(set)
        self._equal: dict[Axis, tuple[Indices, dict[int, list[int]]]] = {}

    def leave(self, verdict: Verdict) -> None:
        """The units that a verdict names go, so that nothing may rest on them."""
        units = list(verdict.causes)
        for reader in verdict.readers:
            self._gone[reader.member.axis].update(reader.member.positions[units].ravel().tolist())

    def find(self, verdict: Verdict) -> list[int]:
        """Further units of the group that go."""
        if verdict.group.contracted or any(reader.number is None for reader in verdict.readers):
            return []
        found = []
        for unit in self._candidates(verdict):
            moves = self._moves(verdict, unit)
            if moves is not None:
                found.append(unit)
                for axis, move in moves.items():
                    self.twins[axis].update(move)
                    self._gone[axis].update(move)
        return found

    def _candidates(self, verdict: Verdict) -> list[int]:
        """Units each position of which equals some other, or adds nothing; the last of them first."""
        open_ = np.ones(verdict.group.units, bool)
        open_[list(verdict.causes)] = False
        for reader in verdict.readers:
            classes, members = self._classes(reader.member.axis, reader.number)
            several = np.asarray([len(members[c]) > 1 for c in classes.tolist()])
            open_ &= (several | reader.nothing)[reader.member.positions].all(axis=1)
        found: list[int] = np.flatnonzero(open_)[::-1].tolist()
        return found

    def _classes(self, axis: Axis, number: Array | None) -> tuple[Indices, dict[int, list[int]]]:
        """Class of each position, and the positions of each class."""
        if axis not in self._equal:
            assert number is not None
            classes = np.unique(number, axis=0, return_inverse=True)[1].reshape(-1)
            members: dict[int, list[int]] = defaultdict(list)
            for position, c in enumerate(classes.tolist()):
                members[c].append(position)
            self._equal[axis] = classes, members
        return self._equal[axis]

    def _moves(self, verdict: Verdict, unit: int) -> Twins | None:
        """What takes over each position of a unit; None if nothing does."""
        moves: Twins = {}
        for reader in verdict.readers:
            axis, own = reader.member.axis, set(reader.member.positions[unit].tolist())
            classes, members = self._classes(axis, reader.number)
            moves[axis] = {}
            for position in own:
                if reader.nothing[position]:
                    continue
                heirs = (q for q in members[int(classes[position])] if q not in own and q not in self._gone[axis])
                heir = next(heirs, None)
                if heir is None:
                    return None
                moves[axis][position] = heir
        return moves
