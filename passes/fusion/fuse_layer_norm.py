"""Make one LayerNormalization, or the spelling that runtimes know, of layer normalizations that are spelled out.

::

    d = x - mean(x)
    d / sqrt(mean(d * d) + epsilon) * scale + bias      ->  LayerNormalization(x, scale, bias)

over the last axis or several of the last, with or without scale and bias. LayerNormalization is an operator from opset
17 on; below, every form over the last axis becomes the one that ONNX Runtime fuses.

*Refuses*: other axes; a shape that is not known; float64, since the operator computes in float32; below opset 17
several axes and float16; the variance as ``mean(x * x) - mean(x)**2``, which cancels; an intermediate value that
something else reads. A scale or bias of other axes, or not constant below opset 17, stays outside.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.compiler.rewriting.pattern import Const, Match, Op, match
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass
from tamis.passes.fusion.normalization import Core, read_core, same, squared, step
from tamis.passes.fusion.normalization_match import (
    Normalization,
    complete,
    fits,
    is_spelling,
    mean,
    quotient,
    quotient_pattern,
)
from tamis.passes.fusion.reductions import reduces_last_axis, trailing_dims

OPERATOR_OPSET = 17
CENTERED = Op("Sub", "x", Op("ReduceMean", "x", more=True))
KNOWN = Op("Add", Op("Mul", quotient_pattern(CENTERED), Const("scale")), Const("bias"))
KNOWN_WITHOUT_BIAS = Op("Mul", quotient_pattern("x"), Const("scale"))
SCALED_X, SCALED_MEAN = Op("Mul", "x", "inverse"), Op("Mul", "mean", "inverse")
AS_BATCH_NORM = (Op("Add", SCALED_X, Op("Sub", "bias", SCALED_MEAN)), Op("Sub", SCALED_X, SCALED_MEAN))


class Options(PassOptions):
    """Options of ``fuse-layer-norm``."""


class FuseLayerNorm(RewritePass[Options]):
    """Make one LayerNormalization of a layer normalization that is spelled out, or the spelling that runtimes fuse.

    *Match*: ``d = x - mean(x)``, written once or twice, divided by the root of its mean square and epsilon: as a
    quotient, as a product with a reciprocal or a power, with the scale on the way to the product, or as ``x * r + (bias -
    mean(x) * r)``; then a scale and a bias, if there are any.

    *Rewrite*: one LayerNormalization; computed in float32 between casts from and to float16, one of float16. Below
    opset 17 the spelling with Pow, Sqrt and Div and with a scale, of which ONNX Runtime makes its own operator; without
    bias, that of the part behind the difference, which is as fast.

    *Shapes*: ``x: (*, d_1, .., d_k)``, normalized over the last k axes; ``scale, bias: (d_1, .., d_k)``.

    *Preserves*: the function up to rounding; in float16, results that an overflow of the square made 0 are right.

    *References*: Ba et al., "Layer normalization", 2016 (1607.06450), section 3.
    onnxruntime/core/optimizer/layer_norm_fusion.cc for the spelling that it knows. Measured on 128 x
    384 values, one thread, over one that it misses: 2.22.
    """

    name = "fuse-layer-norm"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    anchors = frozenset({"ReduceMean"})

    def find(self, anchor: ir.Node, opset: int) -> Match | str | None:
        core = read_core(anchor)
        producer = None if core is None else core.data.producer()
        difference = None if producer is None else match(CENTERED, producer)
        if core is None or difference is None:
            return "the variance is a difference of moments, which cancels" if _is_of_moments(anchor) else None
        x, average = difference["x"], difference.nodes[1]
        ending = _ending(core, x, average.outputs[0])
        if ending is None:
            return None
        dims, operator = trailing_dims(anchor, x), opset >= OPERATOR_OPSET
        if not operator and reduces_last_axis(anchor, x) and is_spelling(KNOWN, core.result, "scale", "bias"):
            return None
        if isinstance(dims, str):
            return dims
        if trailing_dims(average, x) != dims:
            return "the mean is over other axes than the variance"
        if x.dtype not in ((ir.DataType.FLOAT, ir.DataType.FLOAT16) if operator else (ir.DataType.FLOAT,)):
            return "not float32 or float16" if operator else "not float32"
        if len(dims) > 1 and not operator:
            return f"several axes, which need opset {OPERATOR_OPSET}"
        if any(not fits(v, dims, len(x.shape or ())) for name, v in ending[1].items() if name != "x"):
            return "the scale or bias is not of the normalized axes"
        found = complete(*ending, dims, core.epsilon, bias=True, operator=operator)
        known = not operator and "bias" not in found.values and is_spelling(KNOWN_WITHOUT_BIAS, core.result, "scale")
        return None if known else found

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        assert isinstance(found, Normalization)
        x, scale = found["x"], found.parameter("scale", 1)
        if build.opset >= OPERATOR_OPSET:
            parameters = (scale, found.parameter("bias", 0)) if "bias" in found.values else (scale,)
            return build.op("LayerNormalization", x, *parameters, axis=-len(found.dims), epsilon=found.epsilon)
        centered = build.op("Sub", x, mean(build, x), like=x)
        scaled = build.op("Mul", quotient(build, centered, found.epsilon), scale, like=x)
        return build.op("Add", scaled, found.parameter("bias", 0)) if "bias" in found.values else scaled


def _is_of_moments(anchor: ir.Node) -> bool:
    """Whether ``anchor`` is the first term of ``mean(x * x) - mean(x)**2``."""
    difference = step(anchor.outputs[0], "Sub")
    if difference is None or (x := squared(anchor.inputs[0])) is None:
        return False
    average = squared(difference.inputs[1])
    producer = None if average is None else average.producer()
    return producer is not None and producer.op_type == "ReduceMean" and producer.inputs[0] is x


def _ending(core: Core, x: ir.Value, average: ir.Value) -> tuple[ir.Node, dict[str, ir.Value]] | None:
    """The last node, and ``x`` with the scale and bias that it includes."""
    values = {"x": x} if core.factor is None else {"x": x, "scale": core.factor}
    if core.result is not None:
        return core.result, values
    assert core.inverse is not None
    for use in core.inverse.uses():
        user = sole_user(use.node.outputs[0])
        for pattern in AS_BATCH_NORM if user is not None else ():
            found = match(pattern, user) if user is not None else None
            if found is None or found["x"] is not x or found["inverse"] is not core.inverse:
                continue
            if same(found["mean"], average):
                return found.root, {**values, "bias": found["bias"]} if "bias" in found.values else values
    return None
