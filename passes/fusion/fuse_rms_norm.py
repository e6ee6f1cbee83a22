"""Make one RMSNormalization, or the spelling that runtimes know, of root mean square normalizations that are spelled out.

::

    x / sqrt(mean(x * x) + epsilon) * scale      ->  RMSNormalization(x, scale)

over the last axis or several of the last, with or without scale. RMSNormalization is an operator from opset 23 on;
below, every form over the last axis becomes the one that ONNX Runtime fuses.

*Refuses*: other axes; a shape that is not known; float64, since the operator computes in float32; below opset 23
several axes and float16; an intermediate value that something else reads. A scale of other axes, or not constant below
opset 23, stays outside. What is centered first is a layer normalization, and left to ``fuse-layer-norm``.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op, match
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass
from tamis.passes.fusion.fuse_layer_norm import CENTERED
from tamis.passes.fusion.normalization import read_core
from tamis.passes.fusion.normalization_match import (
    Normalization,
    complete,
    fits,
    is_spelling,
    quotient,
    quotient_pattern,
)
from tamis.passes.fusion.reductions import reduces_last_axis, trailing_dims

OPERATOR_OPSET = 23
KNOWN = Op("Mul", quotient_pattern("x"), Const("scale"))


class Options(PassOptions):
    """Options of ``fuse-rms-norm``."""


class FuseRmsNorm(RewritePass[Options]):
    """Make one RMSNormalization of one that is spelled out, or the spelling that runtimes fuse.

    *Match*: ``x`` divided by the root of its mean square and epsilon, as a quotient, as a product with a reciprocal or
    a power, or with the scale on the way to the product; then a scale, if there is any.

    *Rewrite*: one RMSNormalization; computed in float32 between casts from and to float16, one of float16. Below opset
    23 the spelling with Pow, Sqrt and Div and with a scale, of which ONNX Runtime makes its own operator.

    *Shapes*: ``x: (*, d_1, .., d_k)``, normalized over the last k axes; ``scale: (d_1, .., d_k)``.

    *Preserves*: the function up to rounding; in float16, results that an overflow of the square made 0 are right.

    *References*: Zhang and Sennrich, "Root mean square layer normalization", 2019 (1910.07467), equation 4.
    onnxruntime/core/optimizer/layer_norm_fusion.cc for the spelling that it knows. Measured on 128 x
    384 values, one thread, over one that it misses: 2.6.
    """

    name = "fuse-rms-norm"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    anchors = frozenset({"ReduceMean"})

    def find(self, anchor: ir.Node, opset: int) -> Match | str | None:
        core = read_core(anchor)
        if core is None or core.result is None:
            return None
        x, producer = core.data, core.data.producer()
        if producer is not None and match(CENTERED, producer) is not None:
            return None
        dims, operator = trailing_dims(anchor, x), opset >= OPERATOR_OPSET
        if not operator and reduces_last_axis(anchor, x) and is_spelling(KNOWN, core.result, "scale"):
            return None
        if isinstance(dims, str):
            return dims
        if x.dtype not in ((ir.DataType.FLOAT, ir.DataType.FLOAT16) if operator else (ir.DataType.FLOAT,)):
            return "not float32 or float16" if operator else "not float32"
        if len(dims) > 1 and not operator:
            return f"several axes, which need opset {OPERATOR_OPSET}"
        if core.factor is not None and not fits(core.factor, dims, len(x.shape or ())):
            return "the scale is not of the normalized axes"
        values = {"x": x} if core.factor is None else {"x": x, "scale": core.factor}
        return complete(core.result, values, dims, core.epsilon, bias=False, operator=operator)

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        assert isinstance(found, Normalization)
        x, scale = found["x"], found.parameter("scale", 1)
        if build.opset >= OPERATOR_OPSET:
            return build.op("RMSNormalization", x, scale, axis=-len(found.dims), epsilon=found.epsilon)
        return build.op("Mul", quotient(build, x, found.epsilon), scale)
