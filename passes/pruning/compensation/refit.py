"""Refit the layers of a pruned model to what the model gave before, layer by layer, in closed form.

::

    W, b = argmin  sum over rows |y - (x^ W + b)|^2  +  lambda |W - W0|^2

x^ are the rows that the layer reads in the pruned model, with all layers before it refitted already; y is what the same
layer gives in the reference, of the channels that it still has. Both models run once, a layer at a time. A layer keeps its
weights unless others are closer on samples that were not fitted to.

*References.* He et al., Channel Pruning, 2017 (1707.06168), section 3.2: the target is the original output, corrected by
the error of the shortcut; Luo et al., ThiNet, 2017 (1707.06342): one layer after the other. Here the bias is fitted too, and
a ridge draws towards the weights that are there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Detail, Feeds, Skip
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.pruning.compensation.least_squares import LeastSquares, Solution
from tamis.passes.pruning.compensation.linear_layer import LinearLayer
from tamis.passes.pruning.compensation.paired_rows import PairedRows, Rows
from tamis.passes.pruning.compensation.refit_plan import plan_refit
from tamis.passes.pruning.compensation.survivors import Survivors

EQUAL = 1e-10
"""A layer whose output is off by no more than this share of the variance is left as it is."""
KEPT = "kept"


@dataclass(frozen=True)
class Refit:
    """What was done.

    Args:
        layers: Layers that were changed.
        skips: Layers that could not be refitted though their input differs.
        details: Each layer that was looked at, with its error on samples that were not fitted to, before and after: the
            share of the variance of its target.
    """

    layers: int
    skips: tuple[Skip, ...]
    details: tuple[Detail, ...]


def refit(
    pruned: ir.Model,
    reference: ir.Model,
    kept: Mapping[str, Survivors],
    samples: Callable[[], Iterable[Feeds]],
    *,
    positions: int = 256,
    ridges: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    max_samples: int = 256,
    seed: int = 0,
    only: Collection[str] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Refit:
    """Refit ``pruned`` in place.

    Args:
        pruned: The model without some of its channels; names of layers are those of ``reference``.
        reference: The model to come close to.
        kept: Name of a layer -> its channels that stay, see ``survivors``; layers that are missing have all.
        samples: Gives the samples from the start.
        positions: Rows of a sample and layer; drawn at random if there are more.
        ridges: Lambdas to try, in units of the mean diagonal of the second moments of a layer's input.
        max_samples: At most so many samples are looked at.
        seed: Of the choice of positions.
        only: Names of the layers that may change; None for all.
        progress: Gets (fraction done, a note).

    Raises:
        DataError: There are no samples.
    """
    if any(isinstance(v.type, ir.SequenceType | ir.OptionalType) for node in reference.graph for v in node.outputs):
        skip = Skip("values that are no tensors: nothing is refitted", reference.graph.name or "graph")
        return Refit(0, (skip,), ())
    sites, planned = plan_refit(pruned, reference, kept)
    sites = [site for site in sites if only is None or site.name in only]
    if not sites:
        return Refit(0, planned, ())
    names = Names(pruned)
    pairs = PairedRows(pruned, reference, sites, islice(iter(samples()), max_samples), positions, seed)
    skips, details = list(planned), []
    for number, site in enumerate(sites):
        found = _refit_layer(site.layer, pairs.of_site(number), ridges, names)
        if isinstance(found, Skip):
            skips.append(found)
        else:
            details.append(found)
        if progress is not None:
            progress((number + 1) / len(sites), site.name)
    return Refit(sum(detail.got != KEPT for detail in details), tuple(skips), tuple(details))


def _refit_layer(
    layer: LinearLayer, rows: Iterator[Rows | None], ridges: Sequence[float], names: Names
) -> Detail | Skip:
    weight, bias = layer.matrices(), layer.bias()
    sums = LeastSquares(*weight.shape, shifts=layer.shifts)
    fits = True
    for part in rows:
        if part is None:
            fits = False
        elif fits:
            with np.errstate(invalid="ignore", over="ignore"):
                left = part.y - np.matmul(part.x, weight.astype(part.x.dtype)) - bias[:, None].astype(part.x.dtype)
            if part.judge:
                sums.hold(part.x, left, part.y)
            else:
                sums.add(part.x, left)
    name = str(layer.node.name)
    if not fits:
        return Skip("its output and that of the reference do not fit together", name)
    if not sums.count or not sums.held:
        return Skip("too few rows, or none that are finite", name)
    before, whole = sums.error(), sums.variance
    solution = None if before <= EQUAL * whole else sums.best(ridges)
    if solution is None:
        return _detail(name, None, before, whole)
    change, shift = solution.change, solution.shift
    layer.change(None if change is None else weight + change, None if shift is None else bias + shift, names)
    return _detail(name, solution, before, whole)


def _detail(name: str, solution: Solution | None, before: float, whole: float) -> Detail:
    after = before if solution is None else solution.error
    figures = {"error_before": before / whole if whole else 0.0, "error_after": after / whole if whole else 0.0}
    if solution is None:
        why = "no refit is closer on held-out samples" if before > EQUAL * whole else "right as it is"
        return Detail(name, KEPT, why, figures)
    if math.isinf(solution.ridge):
        return Detail(name, "bias", "only the bias carries over to held-out samples", figures)
    return Detail(name, "refit", "closer on held-out samples", {**figures, "ridge": solution.ridge})
