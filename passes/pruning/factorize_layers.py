"""Replace dense layers by two or three thin ones of low rank, where that is faster on the target.

::

    x W + b            ->   (x F) L + b + shift                 F: (K, r), L: (r, N)
    Conv kxk, C to N   ->   Conv kxk, C to r;  Conv 1x1, r to N
                       or   Conv 1x1, C to r1;  Conv kxk, r1 to r2;  Conv 1x1, r2 to N            (Tucker-2)

``F L`` is the matrix of its rank that changes the output of the layer least on the calibration samples; without samples,
that changes the weight least. A layer is timed alone in its forms, and forms are taken by damage for time saved, as far
as the accuracy budget goes.

*Refuses*: weights that are not constant, not a matrix, not float32, not finite, smaller than ``min_elements`` or read
elsewhere as well; convolutions in groups; a transposed first input of Gemm; vectors as first input of MatMul; layers that
ranks of the wanted energy make no smaller, or no faster; graphs inside nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, Detail, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.observe import observe
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.judging.accuracy import AccuracyLook
from tamis.passes.layer_inputs.layer_weight import OPERATORS
from tamis.passes.pruning.low_rank.choose_layers import Choice, steps, within_budget
from tamis.passes.pruning.low_rank.factorized_model import factorized_copy, points
from tamis.passes.pruning.low_rank.factors import Factors
from tamis.passes.pruning.low_rank.layer_forms import LayerForms, find_forms
from tamis.passes.pruning.low_rank.layer_gain import counted
from tamis.passes.pruning.low_rank.ranks import RankRule
from tamis.passes.pruning.low_rank.replace_layer import replace_layer
from tamis.passes.pruning.low_rank.thin_layer import ThinLayer, read_layer, unknown_values
from tamis.passes.pruning.weight_selection import selection

DEFAULT_MULTIPLE = 8
"""Outside a compile."""
OVER_BUDGET = "the accuracy budget does not hold with it"


class Options(PassOptions):
    """Options of ``factorize-layers``."""

    energies: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.99, 0.97, 0.93, 0.85),
        min_length=1,
        description="Parts of the variance of a layer's output that its forms keep at least. Which form is taken is "
        "decided by the accuracy budget; outside a compile it is the first that is smaller.",
    )
    ratio: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="One form only, by multiplications: at most this part of the layer's own.",
    )
    tucker: bool = Field(True, description="Try three layers for a convolution with a kernel as well, not only two.")
    min_speedup: float = Field(
        1.1,
        ge=1,
        le=100,
        description="Take a form only if it is so many times faster than the layer; by multiplications "
        "where nothing can be timed.",
    )
    multiple: int | None = Field(
        None, ge=1, le=512, description="Ranks are multiples of this; left out, of the channels that the target likes."
    )
    min_elements: int = Field(4096, ge=1, le=2**31, description="Leave weights with fewer elements.")
    include: tuple[str, ...] = Field(("*",), description="Factorize only nodes whose name matches one of these globs.")
    exclude: tuple[str, ...] = Field((), description="Leave nodes whose name matches one of these globs.")


class FactorizeLayers(GraphPass[Options]):
    """Factorize layers into thin ones of low rank.

    *Match*: Conv without groups, MatMul and Gemm with a constant float32 weight, in the main graph.

    *Rewrite*: with V the leading eigenvectors of ``W^T C W`` and C the second moments of the layer's input, about its
    mean where the layer has room for a constant, ``W ~ (W V) V^T``: of all matrices of this rank the nearest in output.
    For a convolution with a kernel also with its input channels projected first and the kernel fitted to what is left.
    Ranks and errors are judged by samples that nothing is fitted to. The last layer keeps name, output and bias of the node.

    *Shapes*: unchanged.

    *Preserves*: values up to the part of each layer's variance that its rank gives up, and as a whole the accuracy budget.

    *References*: Zhang et al., "Accelerating very deep convolutional networks", 2015 (1505.06798), section 3.1; Kim et
    al., "Compression of deep convolutional neural networks", 2015 (1511.06530), section 3, for Tucker-2.
    """

    name = "factorize-layers"
    stage = Stage.PRUNE
    contract = Contract.LOSSY
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        layers, skips = self._layers(model, context)
        options = self.options
        found = {
            each.layer: each
            for each in find_forms(
                model, layers, self._rules(context), context, tucker=options.tucker, min_speedup=options.min_speedup
            )
        }
        candidates = [found[layer] for layer in layers if found[layer].forms]
        chosen = self._chosen(model, candidates, context)
        names = Names(model)
        for layer, factors in chosen.items():
            replace_layer(layer.weight, factors, names)
        saved = sum(counted(layer, factors).saved for layer, factors in chosen.items())
        counts = {"layers factorized": len(chosen), "multiplications saved": int(saved)} if chosen else {}
        details = tuple(_detail(found[layer], chosen.get(layer)) for layer in layers)
        return PassResult(model, modified=bool(chosen), counts=counts, skips=tuple(skips), details=details)

    def _layers(self, model: ir.Model, context: PassContext) -> tuple[list[ThinLayer], list[Skip]]:
        shapes = _observed(model, context)
        layers: list[ThinLayer] = []
        skips: list[Skip] = []
        for node in model.graph:
            if node.domain != "" or node.op_type not in OPERATORS or node.op_identifier() in model.functions:
                continue
            layer: ThinLayer | str | None = selection(node.name or "", self.options.include, self.options.exclude)
            if layer is None:
                layer = read_layer(node, self.options.min_elements, shapes)
            if isinstance(layer, ThinLayer):
                layers.append(layer)
            else:
                skips.append(Skip(layer, node.name or str(node.outputs[0].name)))
        return layers, skips

    def _rules(self, context: PassContext) -> list[RankRule]:
        multiple = self.options.multiple
        if multiple is None:
            target = context.target
            multiple = target.runtime.channel_multiple(target.machine) if target else DEFAULT_MULTIPLE
        if self.options.ratio is not None:
            return [RankRule(1.0, self.options.ratio, multiple)]
        return [RankRule(energy, None, multiple) for energy in sorted(self.options.energies, reverse=True)]

    def _chosen(
        self, model: ir.Model, candidates: Sequence[LayerForms], context: PassContext
    ) -> Mapping[ThinLayer, Factors]:
        def named(choice: Choice) -> dict[ThinLayer, Factors]:
            return {candidates[i].layer: candidates[i].forms[form].factors for i, form in choice.items()}

        judge = context.judge
        if judge is None or not candidates:
            return named({i: 0 for i in range(len(candidates))})
        look = AccuracyLook(judge, model, context.seed)
        line = steps(points(model, candidates, judge))
        return named(within_budget(line, lambda choice: look(factorized_copy(model, named(choice))).excess <= 0))


def _detail(found: LayerForms, chosen: Factors | None) -> Detail:
    """What became of a layer, with the figures of its form."""
    shown = next((form for form in found.forms if form.factors is chosen), found.shown)
    figures = {
        "error": shown.factors.error,
        "speedup": shown.gain.speedup,
        "macs_ratio": found.macs_ratio(shown.factors),
    }
    if chosen is None:
        return Detail(found.layer.name, "whole", found.refusal or OVER_BUDGET, figures)
    ranks = " and ".join(str(rank) for rank in chosen.ranks)
    basis = "nearest in output on the samples" if found.informed else "nearest in weight"
    return Detail(found.layer.name, f"rank {ranks}", basis, figures)


def _observed(model: ir.Model, context: PassContext) -> dict[str, tuple[int, ...]]:
    """Sizes that the graph does not tell, on what the judge measures with, or else on a sample."""
    names = unknown_values(model)
    feeds = context.judge.feeds if context.judge is not None else None
    if feeds is None and context.samples is not None:
        feeds = next(iter(context.samples()), None)
    if not names or feeds is None:
        return {}
    return {name: array.shape for _, found in observe(model, names, lambda: [feeds]) for name, array in found.items()}
