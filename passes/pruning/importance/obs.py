"""Losses of units if all that reads them makes good for what goes: optimal brain surgeon, by whole units.

::

    H = cov(x) + lambda I      loss of S = sum over readers of tr(W_S^T ((H^-1)_SS)^-1 W_S) / tr(W^T H W)

x is what a reader reads, centred, since its bias is refitted too. A loss of 0.1 is a tenth of the variance of what the reader
computes. Lambda is 1 % of the mean variance, or more where samples are few: with fewer rows than channels any channel seems
to follow from the others (``shrinkage``). What a weight makes of a channel that never varies is the bias's as well, so
that such a channel is free, however large the weight.

Readers that are no plain product, and rows too long for second moments, count by their energy (``activation_weighted``),
which is normalized the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.axes.ties import Ties
from tamis.passes.pruning.importance.activation_weighted import NOT_FINITE, Reading, energy, readings
from tamis.passes.pruning.importance.curve import Curve
from tamis.passes.pruning.importance.moments import Moments, Samples, input_moments, mean_squares
from tamis.passes.pruning.importance.product import Product, product_of
from tamis.passes.pruning.importance.sweep import Layer, restricted_inverse, sweep
from tamis.passes.pruning.importance.weight_norms import share, slice_energies

Array = np.ndarray[Any, np.dtype[Any]]
RIDGE = 1e-2
"""Lambda at least, in mean variances."""
CONSTANT = 1e-12
"""A channel whose variance is not above so many mean variances never varies."""
LONGEST = 6000
"""A product whose rows are longer counts by its energy: the work grows with the third power."""
MEMORY = 512 << 20
"""Bytes of second moments that are held at once."""
BY_ENERGY = "units count by their energy, without what others make good for"
NOT_DEFINITE = "the second moments of what it reads are not positive definite: its weights alone are looked at"


@dataclass
class _Plan:
    """What reads the units of a group: products, and the rest, which counts by its energy."""

    products: list[Product] = field(default_factory=list)
    rest: list[Reading] = field(default_factory=list)

    @property
    def sources(self) -> dict[Hashable, Product]:
        return {product.source: product for product in self.products}


def obs_curves(
    model: ir.Model,
    groups: Sequence[Group],
    ties: Ties,
    samples: Samples,
    *,
    positions: int = 256,
    seed: int = 0,
    block: int = 8,
    ridge: float = RIDGE,
    memory: int = MEMORY,
    progress: Callable[[float, str], None] | None = None,
) -> tuple[dict[Group, Curve], tuple[Skip, ...]]:
    """Order and loss of the units of each group; what counts by its energy is among the skips.

    Args:
        model: That the groups belong to.
        groups: With finite weights.
        ties: Of their graph.
        samples: Gives the samples from the start each time.
        positions: Rows of a sample and layer at most.
        seed: Of the choice of positions.
        block: Units that go between two orderings of the rest.
        ridge: Lambda at least, in mean variances.
        memory: Bytes of second moments that are held at once; the samples run once for as many groups as fit.
        progress: Gets the share of the work that is done, and the group at hand.

    Raises:
        DataError: There are no samples.
    """
    skips: list[Skip] = []
    plans = {group: _plan(group, ties, memory, skips) for group in groups}
    squares = mean_squares(model, (a for p in plans.values() for r in p.rest for a in r.values), samples)
    found: dict[Group, Curve] = {}
    for batch in _batches(plans, memory):
        sources = {key: product for group in batch for key, product in plans[group].sources.items()}
        moments = input_moments(model, sources, samples, positions=positions, seed=seed)
        for group in batch:
            if progress is not None:
                progress(len(found) / len(groups), group.name)
            plan = plans[group]
            fixed = (
                energy(group, plan.rest, squares, skips) if plan.rest or not plan.products else np.zeros(group.units)
            )
            layers = _layers(plan.products, moments, ridge, fixed, skips)
            found[group] = sweep(layers, fixed, block)
    return found, tuple(skips)


def _plan(group: Group, ties: Ties, memory: int, skips: list[Skip]) -> _Plan:
    plan = _Plan()
    for reading in readings(group, ties):
        product = product_of(reading.by) if reading.by.role else "summed over without a weight"
        if isinstance(product, Product) and product.length > LONGEST:
            product = f"reads rows of more than {LONGEST} elements"
        if isinstance(product, Product):
            plan.products.append(product)
        else:
            plan.rest.append(reading)
            skips.append(Skip(f"{product}: {BY_ENERGY}", reading.name))
    while _bytes(plan.sources) > memory:
        largest = max(plan.products, key=lambda p: p.length)
        plan.products.remove(largest)
        plan.rest.extend(r for r in readings(group, ties) if r.by is largest.member)
        skips.append(Skip(f"second moments of all that reads a group do not fit: {BY_ENERGY}", str(largest.node.name)))
    return plan


def _batches(plans: Mapping[Group, _Plan], memory: int) -> Iterator[list[Group]]:
    """Groups, in order, whose second moments fit together."""
    batch: list[Group] = []
    sources: dict[Hashable, Product] = {}
    for group, plan in plans.items():
        together = sources | plan.sources
        if batch and _bytes(together) > memory:
            yield batch
            batch, together = [], plan.sources
        batch.append(group)
        sources = together
    if batch:
        yield batch


def _bytes(sources: Mapping[Hashable, Product]) -> int:
    return sum(4 * product.length**2 for product in sources.values())


def _layers(
    products: Sequence[Product], moments: Mapping[Hashable, Moments], ridge: float, fixed: Array, skips: list[Skip]
) -> list[Layer]:
    """Products that read the same units of the same rows as one layer, each scaled to energy 1.

    What cannot be judged so is added to ``fixed``.
    """
    alike: dict[tuple[Hashable, bytes], list[Product]] = defaultdict(list)
    for product in products:
        alike[product.source, product.rows_of_units().tobytes()].append(product)
    found = []
    for (source, _), readers in alike.items():
        layer = _layer(readers, moments[source], ridge)
        if isinstance(layer, Layer):
            found.append(layer)
        elif layer is not None:
            for product in readers:
                skips.append(Skip(layer, str(product.node.name)))
                fixed += share(slice_energies(product.member), product.member)
    return found


def _layer(readers: Sequence[Product], moments: Moments, ridge: float) -> Layer | str | None:
    """The layer, why there is none, or None if nothing that it computes depends on what it reads.

    Args:
        readers: Of the same rows, with the same rows for each unit.
        moments: Of the rows.
        ridge: See ``obs_curves``.
    """
    h = moments.covariance()
    if h is None:
        return NOT_FINITE
    varies = np.diagonal(h) > CONSTANT * float(np.trace(h)) / len(h)
    shrunk = moments.shrinkage(h)
    h.flat[:: len(h) + 1] += max(ridge, shrunk / (1 - shrunk)) * float(np.trace(h)) / len(h)
    rows = readers[0].rows_of_units()
    weights = []
    for product in readers:
        matrix = product.matrix().astype(h.dtype) * varies[:, None]
        total = float(np.vdot(matrix, h @ matrix))
        if total > 0:
            weights.append(matrix[rows.ravel()] / np.sqrt(total))
    if not weights:
        return None
    try:
        return Layer(restricted_inverse(h, rows.ravel()), np.concatenate(weights, axis=1), len(rows))
    except np.linalg.LinAlgError:
        return NOT_DEFINITE
