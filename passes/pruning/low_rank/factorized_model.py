"""Copies of a model with some layers factorized, and what single layers do to its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from tamis.compiler.judge import Judge
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.layer_inputs.layer_weight import LayerWeight
from tamis.passes.pruning.low_rank.choose_layers import Point
from tamis.passes.pruning.low_rank.factors import Factors
from tamis.passes.pruning.low_rank.layer_forms import LayerForms
from tamis.passes.pruning.low_rank.replace_layer import replace_layer
from tamis.passes.pruning.low_rank.thin_layer import ThinLayer


def factorized_copy(model: ir.Model, choice: Mapping[ThinLayer, Factors]) -> ir.Model:
    """A copy of ``model`` with factors in place of some of its layers."""
    copy = model.clone()
    twins = dict(zip(model.graph, copy.graph, strict=True))
    names = Names(copy)
    for layer, factors in choice.items():
        replace_layer(LayerWeight(twins[layer.node], layer.weight.shape), factors, names)
    return copy


def points(model: ir.Model, found: Sequence[LayerForms], judge: Judge | None) -> list[list[Point]]:
    """Damage and gain of each form.

    With a judge damage is noise over signal at the outputs of the model: measured for the last form of each layer, of the
    others in proportion to the error of the layer. Without one it is the error of the layer.
    """
    whole: list[list[Point]] = []
    for each in found:
        last = each.forms[-1].factors
        factor = 1.0
        if judge is not None and last.error > 0:
            noise = 10 ** (-judge.sqnr_db(factorized_copy(model, {each.layer: last})) / 10)
            factor = noise / last.error
        whole.append([Point(form.factors.error * factor, form.gain.saved) for form in each.forms])
    return whole
