"""The forms that a layer can take: factors of several ranks, with what they save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import PassContext
from tamis.passes.pruning.low_rank.factors import BothSplit, Factors, OutputSplit
from tamis.passes.pruning.low_rank.layer_gain import Gain, counted, measured
from tamis.passes.pruning.low_rank.moments import Moments, grams_in_two, moments_of, without_samples
from tamis.passes.pruning.low_rank.ranks import RankRule
from tamis.passes.pruning.low_rank.thin_layer import ThinLayer

MAX_ROWS = 8192
"""Layers with longer rows are split by their weights alone: second moments would not fit."""
NO_SMALLER = "ranks of the wanted energy take no fewer multiplications"
NO_FASTER = "the thin layers are not, or not surely, faster by min_speedup"


@dataclass(frozen=True)
class Form:
    """One way to factorize a layer."""

    factors: Factors
    gain: Gain


@dataclass(frozen=True)
class LayerForms:
    """A layer with its useful forms.

    Args:
        layer: Of the model.
        forms: Those that are faster; of falling rank.
        shown: The form that figures are given of if none is chosen.
        refusal: Why there are no forms; None if there are.
        informed: Whether samples say what its inputs are like.
    """

    layer: ThinLayer
    forms: tuple[Form, ...]
    shown: Form
    refusal: str | None
    informed: bool

    def macs_ratio(self, factors: Factors) -> float:
        """Multiplications of factors over those of the layer."""
        return factors.macs(self.layer.positions.before, self.layer.positions.after) / max(self.layer.macs, 1)


def find_forms(
    model: ir.Model,
    layers: Sequence[ThinLayer],
    rules: Sequence[RankRule],
    context: PassContext,
    *,
    tucker: bool,
    min_speedup: float,
) -> Iterator[LayerForms]:
    """The forms of each layer, in no particular order.

    Args:
        model: Left as it is.
        layers: Of ``model``.
        rules: Of falling rank, all with one multiple.
        context: With samples, if there are any, and a judge that can time steps, if there is one.
        tucker: Split convolutions with a kernel in three as well.
        min_speedup: Of a form.
    """
    for layer, moments, informed in _with_moments(model, layers, context):
        found: list[Form] = []
        usable: list[Form] = []
        seen: set[tuple[int, ...]] = set()
        for factors in _factors(layer, moments, rules, tucker=tucker):
            if factors.ranks in seen:
                continue
            seen.add(factors.ranks)
            gain, judge = counted(layer, factors), context.judge
            if judge is not None and judge.measures and gain.speedup >= min_speedup:
                gain = measured(layer, factors, rules[0].multiple, model, judge)
            found.append(Form(factors, gain))
            if gain.sure and gain.speedup >= min_speedup:
                usable.append(found[-1])
        fewer = any(counted(layer, form.factors).speedup > 1 for form in found)
        refusal = None if usable else NO_FASTER if fewer else NO_SMALLER
        yield LayerForms(layer, tuple(usable), usable[0] if usable else found[-1], refusal, informed)


def _factors(layer: ThinLayer, moments: Moments, rules: Sequence[RankRule], *, tucker: bool) -> Iterator[Factors]:
    """Of each rule those of two layers and of three, first those with fewer multiplications; with a given ratio of them,
    those with the smaller error."""
    weight = layer.weight.matrices()[0].astype(np.float64)
    positions = layer.positions
    splits: list[OutputSplit | BothSplit] = [OutputSplit(weight, moments)]
    if tucker and layer.kernel > 1:
        splits.append(BothSplit(weight, layer.kernel, moments, positions))
    for rule in rules:
        found = [split.at(rule) for split in splits]
        by_error = rule.ratio is not None
        yield from sorted(found, key=lambda f: f.error if by_error else f.macs(positions.before, positions.after))


def _with_moments(
    model: ir.Model, layers: Sequence[ThinLayer], context: PassContext
) -> Iterator[tuple[ThinLayer, Moments, bool]]:
    """Each layer with what is known of its input, and whether samples told it."""
    left = {layer.node: layer for layer in layers}
    if context.samples is not None:
        known = [layer.weight.layer for layer in layers if layer.weight.layer.rows <= MAX_ROWS]
        for found, gram, held in grams_in_two(model, known, context.samples, context.seed):
            moments = moments_of(gram, held, centred=left[found.node].takes_shift)
            if moments is not None:
                yield left.pop(found.node), moments, True
    for layer in left.values():
        yield layer, without_samples(layer.weight.layer.rows), False
