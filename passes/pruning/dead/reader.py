"""A weight that reads the units of a group: what each position of its input axis adds to the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.passes.pruning.axes.group import Member
from tamis.passes.pruning.dead.biases import takes
from tamis.passes.pruning.dead.evidence import Evidence
from tamis.passes.pruning.dead.fact import Array
from tamis.passes.pruning.dead.reading import Reading, read
from tamis.passes.pruning.dead.weights import silent


@dataclass(frozen=True, eq=False)
class Reader:
    """What is known of each position.

    Args:
        member: The input axis of the weight, and the positions of each unit.
        reading: What it meets; None if that is not known.
        unread: ``(positions,)``: the weights are zero.
        nothing: ``(positions,)``: the weights are zero, or the channels are.
        fixed: ``(positions,)``: each channel that it meets is one number.
        constant: ``(positions,)``: so it is, and a bias can take over what it adds.
        value: ``(positions, n)``: that number, of the n channels that it meets.
        number: ``(positions, n)``: equal rows are equal channels; None if nothing is known.
    """

    member: Member
    reading: Reading | None
    unread: Array
    nothing: Array
    fixed: Array
    constant: Array
    value: Array
    number: Array | None


def read_member(member: Member, evidence: Evidence) -> Reader:
    """Put together what is known."""
    reading = read(member.axis)
    channels = None if reading is None else evidence.met(reading)
    unread = silent(member.axis)
    if reading is None or channels is None:
        nowhere = np.zeros(len(unread), bool)
        return Reader(member, reading, unread, unread, nowhere, nowhere, np.zeros((len(unread), 1)), None)
    met = reading.channels
    fixed = np.asarray(channels.constant[met].all(axis=1))
    return Reader(
        member,
        reading,
        unread,
        unread | channels.zero[met].all(axis=1),
        fixed,
        fixed & takes(member.axis),
        channels.low[met],
        channels.number[met],
    )
