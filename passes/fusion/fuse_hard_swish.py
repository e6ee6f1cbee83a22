"""Make ``x * HardSigmoid(x)`` of the forms of hard swish whose scale stands behind the product.

::

    x * clamp(x + 3, 0, 6) / 6          ->  x * HardSigmoid<1/6, 1/2>(x)
    (x / 6) * clamp(x + 3, 0, 6)        ->  x * HardSigmoid<1/6, 1/2>(x)

The forms ``x * (clamp(x + 3, 0, 6) / 6)`` become the same through ``fuse-hard-sigmoid``.

*Refuses*: bounds that are not 0 and 1 after scaling; constants of several elements, or of a higher rank than x;
element types other than float32; an intermediate value that something else reads.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass
from tamis.passes.fusion.clamps import bounds, clamps, nearly
from tamis.passes.fusion.fuse_hard_sigmoid import SHIFT, read_line

CLAMPS = clamps(Op("Add", "x", SHIFT))


class Options(PassOptions):
    """Options of ``fuse-hard-swish``."""


class FuseHardSwish(RewritePass[Options]):
    """Make ``x * HardSigmoid(x)`` of a hard swish that is scaled last.

    *Match*: the product of ``x`` and ``clamp(x + b, 0, h)``, with a constant scale on the product or on its first
    factor that makes the upper bound 1.

    *Rewrite*: HardSigmoid and Mul. ONNX Runtime has both in its blocked layout, and fuses the HardSigmoid into the
    convolution before it; HardSwish itself is measured to be no faster, and needs opset 14.

    *Preserves*: the function up to rounding; where ``x * clamp(x + b, 0, h)`` alone overflows, the result is finite.

    *References*: Howard et al., "Searching for MobileNetV3", 2019 (1905.02244), section 5.2. Measured on PP-OCRv4, one
    thread, with ``fold-conv-affine`` after it, over that pass alone: recogniser 1.23, detector 1.22, classifier 1.42.
    """

    name = "fuse-hard-swish"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    patterns = (
        *(Op("Div", Op("Mul", "x", clamp), Const("over")) for clamp in CLAMPS),
        *(Op("Mul", Op("Mul", "x", clamp), Const("times")) for clamp in CLAMPS),
        *(Op("Mul", Op("Div", "x", Const("over")), clamp) for clamp in CLAMPS),
        *(Op("Mul", Op("Mul", "x", Const("times")), clamp) for clamp in CLAMPS),
    )

    def check(self, found: Match, model: ir.Model) -> str | None:
        if found["x"].dtype != ir.DataType.FLOAT:
            return "not float32"
        limits, line = bounds(found), read_line(found)
        if limits is None or line is None:
            return "a constant is not a single number"
        low, high = limits
        if low != 0:
            return f"the lower bound is {low:g}, not 0"
        return None if nearly(high * line[2], 1) else f"the upper bound is {high * line[2]:g}, not 1"

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        line = read_line(found)
        assert line is not None
        _, shift, scale = line
        x = found["x"]
        return build.op("Mul", x, build.op("HardSigmoid", x, like=x, alpha=scale, beta=shift * scale))
