"""Make one HardSigmoid of its spelled-out forms.

::

    clamp(x + 3, 0, 6) / 6             ->  HardSigmoid<1/6, 1/2>(x)
    clamp(x / 6 + 0.5, 0, 1)           ->  HardSigmoid<1/6, 1/2>(x)
    clamp(a x + b, 0, h) * (1 / h)     ->  HardSigmoid<a / h, b / h>(x)

where a clamp is a Clip, a Min and a Max, or a Min and a Relu; quotients may be products with the reciprocal.

*Refuses*: bounds that are not 0 and 1 after scaling; constants of several elements, or of a higher rank than x;
element types other than float32, for which runtimes have no kernel; an intermediate value that something else reads.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass
from tamis.passes.fusion.clamps import bounds, clamps, nearly, number

SHIFT, FACTOR, DIVISOR = Const("shift"), Const("factor"), Const("divisor")
INNER = (
    Op("Add", Op("Mul", "x", FACTOR), SHIFT),
    Op("Add", Op("Div", "x", DIVISOR), SHIFT),
    Op("Add", "x", SHIFT),
)
CLAMPS = tuple(clamp for inner in INNER for clamp in clamps(inner))


class Options(PassOptions):
    """Options of ``fuse-hard-sigmoid``."""


class FuseHardSigmoid(RewritePass[Options]):
    """Make one HardSigmoid of a shifted, scaled and clamped value.

    *Match*: ``clamp(a x + b, 0, h)``, divided by or multiplied with a constant that makes the upper bound 1.

    *Rewrite*: ``HardSigmoid<alpha = a / h, beta = b / h>(x)``: one node instead of three or more, which ONNX Runtime
    fuses into the convolution before it.

    *Preserves*: the function up to rounding.

    *References*: Howard et al., "Searching for MobileNetV3", 2019 (1905.02244), section 5.2.
    """

    name = "fuse-hard-sigmoid"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    patterns = (
        *(Op("Div", clamp, Const("over")) for clamp in CLAMPS),
        *(Op("Mul", clamp, Const("times")) for clamp in CLAMPS),
        *CLAMPS,
    )

    def check(self, found: Match, model: ir.Model) -> str | None:
        if found["x"].dtype != ir.DataType.FLOAT:
            return "not float32"
        limits = bounds(found)
        line = read_line(found)
        if limits is None or line is None:
            return "a constant is not a single number"
        low, high = limits
        if low != 0:
            return f"the lower bound is {low:g}, not 0"
        scale = line[2]
        return None if nearly(high * scale, 1) else f"the upper bound is {high * scale:g}, not 1"

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        line = read_line(found)
        assert line is not None
        slope, shift, scale = line
        return build.op("HardSigmoid", found["x"], alpha=slope * scale, beta=shift * scale)


def read_line(found: Match) -> tuple[float, float, float] | None:
    """Slope and shift inside the clamp, scale behind it; None if a constant is not a single number, or 0 divides."""
    numbers = {
        name: number(found, name) for name in ("factor", "divisor", "shift", "over", "times") if name in found.values
    }
    if None in numbers.values() or 0 in (numbers.get("divisor"), numbers.get("over")):
        return None
    values = {name: float(n) for name, n in numbers.items() if n is not None}
    slope = values.get("factor", 1.0) / values.get("divisor", 1.0)
    return slope, values["shift"], values.get("times", 1.0) / values.get("over", 1.0)
