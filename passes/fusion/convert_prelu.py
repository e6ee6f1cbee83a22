"""Write PRelu with one slope for all elements as LeakyRelu.

::

    PRelu(x, [a, a, a])  ->  LeakyRelu<alpha = a>(x)

*Refuses*: slopes that differ, are not finite, or that float32, the type of the attribute, does not hold; element types
other than float16, float32, float64; models below opset 7.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass
from tamis.passes.fusion.linear_nodes import FLOATS


class Options(PassOptions):
    """Options of ``convert-prelu``."""


class ConvertPrelu(RewritePass[Options]):
    """Write PRelu with equal slopes as LeakyRelu.

    *Match*: PRelu whose constant slopes are all the same number.

    *Rewrite*: LeakyRelu, which runtimes fuse into the convolution before it.

    *Preserves*: bits: both multiply what is below zero by the slope, and hand on the rest.

    *References*: He et al., "Delving deep into rectifiers", 2015 (1502.01852), equation 1.
    """

    name = "convert-prelu"
    stage = Stage.FUSE
    contract = Contract.EXACT
    speed_motivated = True
    options_type = Options
    patterns = (Op("PRelu", "x", Const("slope")),)

    def check(self, found: Match, model: ir.Model) -> str | None:
        if found["slope"].dtype not in FLOATS:
            return "not float16, float32 or float64"
        slopes, slope = found.array("slope"), found.scalar("slope")
        if slope is None or len(np.unique(np.signbit(slopes))) > 1:
            return "the slopes differ"
        if not np.isfinite(slope):
            return "the slope is not finite"
        with np.errstate(over="ignore"):
            return None if float(np.float32(slope)) == slope else "float32 does not hold the slope"

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        return build.op("LeakyRelu", found["x"], alpha=float(found.array("slope").flat[0]))
