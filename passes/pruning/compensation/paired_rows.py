"""What layers of a pruned model read, and what they should give, from two models that run side by side in stages.

The rows of a layer are asked for only when those before it are refitted: what it reads is computed with their new weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import DataError
from tamis.compiler.graph_pass import Feeds
from tamis.passes.layer_inputs.stages import Stages, Values
from tamis.passes.pruning.compensation.refit_plan import Site

Array = np.ndarray[Any, np.dtype[Any]]
MEMORY = 512 << 20
"""Bytes of values between layers that are held; with larger ones fewer samples are looked at."""
HELD_OUT = 4
"""Every so many-th sample is to judge by; of a single sample, every so many-th row."""
HELD_NUMBERS = 1 << 24
"""Numbers in the rows of a layer to judge by; of larger rows fewer are given."""


@dataclass(frozen=True)
class Rows:
    """Rows of one layer and sample.

    Args:
        x: ``(groups, P, K)``, what it reads.
        y: ``(groups, P, N)``, what it should give.
        judge: Whether to judge by them, and not to fit to them.
    """

    x: Array
    y: Array
    judge: bool


class PairedRows:
    """Two models, and where they are on each sample.

    Args:
        pruned: Read again before each layer.
        reference: What it was pruned from.
        sites: In the order in which they are asked for.
        samples: As many are held as fit.
        positions: Rows of a sample and layer at most.
        seed: Of the choice of positions.

    Raises:
        DataError: There are no samples.
    """

    def __init__(
        self,
        pruned: ir.Model,
        reference: ir.Model,
        sites: Sequence[Site],
        samples: Iterable[Feeds],
        positions: int,
        seed: int,
    ) -> None:
        self._sites = sites
        self._positions = positions
        self._seed = seed
        self._first: list[int] = []
        ends: tuple[list[ir.Value], list[ir.Value]] = ([], [])
        for site in sites:
            self._first.append(len(ends[0]))
            ends[0].extend([site.target] if site.added is None else [site.target, site.added[0]])
            ends[1].extend([site.input] if site.added is None else [site.input, site.added[1]])
        self._stages = (Stages(reference, ends[0]), Stages(pruned, ends[1]))
        self._held: list[tuple[Values, Values]] = []
        taken = 0
        for feeds in samples:
            taken += sum(array.nbytes for array in feeds.values())
            if self._held and taken > MEMORY:
                break
            self._held.append((dict(feeds), dict(feeds)))
        if not self._held:
            raise DataError("there are no samples to refit to", expected="at least one")

    def of_site(self, number: int) -> Iterator[Rows | None]:
        """Rows of the next layer, sample by sample; None where the two models do not fit together.

        Each layer is asked for once, in order, and to the end.
        """
        site = self._sites[number]
        stages = range(self._first[number], self._first[number] + (1 if site.added is None else 2))
        runners: dict[tuple[int, int], Callable[[Values], Values]] = {}
        index = 0
        while index < len(self._held):
            for side, values in enumerate(self._held[index]):
                for stage in stages:
                    if index == 0:
                        runners[side, stage] = self._stages[side].open(stage, values)
                    values.update(runners[side, stage](values))
            pair = _arrays(site, *self._held[index])
            for side, values in enumerate(self._held[index]):
                self._stages[side].forget(stages[-1], values)
            size = sum(array.nbytes for values in self._held[index] for array in values.values())
            del self._held[max(index + 1, MEMORY // max(1, size)) :]
            yield from self._split(index, self._drawn(site, *pair, (self._seed, index, number)))
            index += 1

    def _drawn(self, site: Site, read: Array, wanted: Array, seed: tuple[int, ...]) -> tuple[Array, Array] | None:
        layer = site.layer
        x = layer.rows(read, self._positions, seed)
        y = layer.targets(wanted, self._positions, seed)
        if y.shape[0] != x.shape[1] or y.shape[1] != layer.channels:
            return None
        return x, y.reshape(len(y), layer.groups, -1).transpose(1, 0, 2)

    def _split(self, index: int, rows: tuple[Array, Array] | None) -> Iterator[Rows | None]:
        if rows is None:
            yield None
            return
        x, y = rows
        if len(self._held) == 1:
            judges = np.arange(x.shape[1]) % HELD_OUT == 1
            yield Rows(x[:, ~judges], y[:, ~judges], False)
            yield Rows(x[:, judges], y[:, judges], True)
        elif index % HELD_OUT == 1:
            share = x.size * (len(self._held) // HELD_OUT + 1) / HELD_NUMBERS
            step = max(1, int(np.ceil(share)))
            yield Rows(x[:, ::step].copy(), y[:, ::step].copy(), True)
        else:
            yield Rows(x, y, False)


def _arrays(site: Site, reference: Values, pruned: Values) -> tuple[Array, Array]:
    """What a layer reads, and what it should give."""
    read, wanted = pruned[str(site.input.name)], reference[str(site.target.name)]
    parts = [wanted]
    if site.added is not None:
        parts.append(reference[str(site.added[0].name)])
    axis = site.layer.channel_axis(wanted)
    if site.outputs is not None and len(site.outputs) and site.outputs[-1] < wanted.shape[axis]:
        parts = [np.take(p, site.outputs, axis) if p.shape == wanted.shape else p for p in parts]
    if site.added is None:
        return read, parts[0]
    instead = pruned[str(site.added[1].name)]
    same = parts[0].shape == parts[1].shape == instead.shape
    return read, parts[0] + parts[1] - instead if same else parts[0]
