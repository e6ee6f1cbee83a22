"""Move the sizes of outlying channels from activations, which have one scale in all, into the weights that read them.

::

    Norm(x; g, b) -> W1, W2, ..   ->   Norm(x; g / s, b / s) -> s W1, s W2, ..        s = max|X| ** a / max|W| ** (1 - a)

per channel, for LayerNormalization, RMSNormalization, a Mul by a constant, or a Gemm or MatMul in front, with constant
additions and ReLUs on the way. The exponent ``a`` is the one with the least error of the quantized products on the
calibration samples; where none is clearly better than no change, nothing is changed.

*Refuses*: readers that are not MatMul or Gemm with constant weights; a value that is a graph output or is read in a
subgraph; scales that are not constant, or not per channel of the last axis; models without calibration samples;
element types other than float32; samples that are not finite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.observe import observe
from tamis.compiler.rewriting.constants import set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.fusion.affine import Affine, Array
from tamis.passes.quantization.equalization.channel_sources import PRODUCTS
from tamis.passes.quantization.equalization.smoothing import Rows, best_factors
from tamis.passes.quantization.equalization.smoothing_sites import Site, find_site, find_sites

SWEEPS = 8


class Options(PassOptions):
    """Options of ``smooth-activations``."""

    rows: int = Field(
        256, ge=16, le=4096, description="Rows of each activation that the error is measured on, over all samples."
    )


class SmoothActivations(GraphPass[Options]):
    """Balance the ranges of the channels between a normalization and the products that read it.

    *Match*: LayerNormalization or RMSNormalization with constant scale, a Mul by a constant per channel, or a Gemm or
    MatMul with constant weights, read by Gemm and MatMul with constant weights alone.

    *Rewrite*: ``g' = g / s``, ``b' = b / s``, ``W' = s W``, with the exponent of ``s`` from 0.3 to 0.9 and ``s`` at
    least 1, so that no activation grows. Only a change that lowers the squared error of the 8-bit products on the
    samples by a tenth is made, repeatedly.

    *Shapes*: ``s: (C,)`` over the last axis; all shapes stay.

    *Preserves*: the function up to rounding.

    *References*: Xiao et al., "SmoothQuant: Accurate and efficient post-training quantization for large language
    models", 2022 (2211.10438), equation 4.
    """

    name = "smooth-activations"
    stage = Stage.QUANTIZE
    contract = Contract.CLOSE
    needs_samples = True
    options_type = Options

    def requires(self, model: ir.Model, context: PassContext) -> None:
        if context.samples is None:
            raise self.refuse(
                "there are no calibration samples to find outlying channels with",
                expected="samples of the model's inputs",
                fix="name them in the recipe under data.calibration, or leave the step out",
            )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        sites, skips = find_sites(model)
        rows = _observe(model, sites, context, self.options.rows)
        names: Names | None = None
        smoothed: dict[ir.Value, None] = {}
        reasons: dict[ir.Value, str] = {}
        for _ in range(SWEEPS):  # a product may be reader of one value and source of the next
            changed = False
            for value in [site.value for site in sites]:
                site = find_site(value)
                found = best_factors(rows[value], [reader.weight for reader in site.readers])
                names = names or Names(model)
                reason = found if isinstance(found, str) else _write(site, found, names)
                if isinstance(found, str) or reason is not None:
                    reasons[value] = str(reason)
                    continue
                rows[value].divide(found)
                smoothed[value], changed = None, True
            if not changed:
                break
        skips.extend(Skip(reasons[v], v.name or "value") for v in reasons if v not in smoothed)
        counts = {"smoothed": len(smoothed)} if smoothed else {}
        return PassResult(model, modified=bool(smoothed), counts=counts, skips=tuple(skips))


def _observe(model: ir.Model, sites: Sequence[Site], context: PassContext, count: int) -> dict[ir.Value, Rows]:
    """Some rows of each value."""
    by_name = {str(site.value.name): site.value for site in sites}
    rows = {site.value: Rows(count, context.seed) for site in sites}
    assert context.samples is not None
    if by_name:
        for _, values in observe(model, by_name, context.samples):
            for name, array in values.items():
                rows[by_name[name]].add(array)
    return rows


def _write(site: Site, factors: Array, names: Names) -> str | None:
    """Divide what sets the channels' sizes by ``factors``, multiply the readers; or say why that cannot be stored."""
    scaled = [reader.before(Affine(factors, np.zeros(()))) for reader in site.readers]
    stored = [None if isinstance(linear, str) else linear.stored() for linear in scaled]
    shrunk = site.divided(factors)
    if shrunk is None or any(arrays is None for arrays in stored):
        return "scaled weights are not finite"
    for reader, arrays in zip(site.readers, stored, strict=True):
        assert arrays is not None and reader.node.op_type in PRODUCTS
        label = reader.node.name or reader.node.outputs[0].name or reader.node.op_type
        set_constant(reader.node, 1, arrays[0], names.fresh(f"{label}_weight"))
    for (node, index), array in shrunk.items():
        set_constant(node, index, array, names.fresh(f"{node.name or node.op_type}_smoothed"))
        if node.op_type == "Gemm" and index == 2:
            node.attributes.pop("beta", None)
    return None
