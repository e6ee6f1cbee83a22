"""Make ``x * Sigmoid(x)`` of SiLU's spelled-out forms.

::

    x / (1 + exp(-x))              ->  x * Sigmoid(x)
    x * (1 / (1 + exp(-x)))        ->  x * Sigmoid(x)

*Refuses*: a term that is not 1, or not of one element; an intermediate value that something else reads.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass

DENOMINATOR = Op("Add", Op("Exp", Op("Neg", "x")), Const("one"))


class Options(PassOptions):
    """Options of ``fuse-silu``."""


class FuseSilu(RewritePass[Options]):
    """Make ``x * Sigmoid(x)`` of a SiLU that is spelled with Exp.

    *Match*: ``x / (1 + exp(-x))``, as a quotient or as a product with a reciprocal.

    *Rewrite*: one Sigmoid and one Mul, which runtimes fuse and keep in their blocked layout.

    *Preserves*: the function up to rounding; where ``exp(-x)`` overflows, the result is the limit, 0.

    *References*: Elfwing et al., "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2017 (1702.03118), equation 1.
    """

    name = "fuse-silu"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    patterns = (
        Op("Div", "x", DENOMINATOR),
        Op("Mul", "x", Op("Reciprocal", DENOMINATOR)),
        Op("Mul", "x", Op("Div", Const("numerator"), DENOMINATOR)),
    )

    def check(self, found: Match, model: ir.Model) -> str | None:
        for name in ("one", "numerator"):
            if name in found.values and (found.scalar(name) != 1 or found.array(name).size != 1):
                return f"the {name} is not a single 1"
        return None

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        x = found["x"]
        return build.op("Mul", x, build.op("Sigmoid", x, like=x))
