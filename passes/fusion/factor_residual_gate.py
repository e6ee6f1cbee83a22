"""Add a gated tensor to itself by adding to the gate.

::

    x + x * g     ->  x * (g + 1)          g one number a channel or a sample, out of a Sigmoid or HardSigmoid

Residual squeeze-and-excitation blocks are exported so. The sum over the whole tensor becomes one over the gate.

*Refuses*: gates as large as the tensor, or whose size is not known; gates that may be negative, since with them an
infinite ``x`` gives NaN here and not there; an intermediate value that something else reads.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass

NOT_NEGATIVE = frozenset(["HardSigmoid", "Sigmoid"])
FLOATS = frozenset([ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE])


class Options(PassOptions):
    """Options of ``factor-residual-gate``."""


class FactorResidualGate(RewritePass[Options]):
    """Make one product of a tensor and its gated self.

    *Match*: ``x + x * g``, with ``g`` of one element where ``x`` has several, from a Sigmoid or HardSigmoid.

    *Rewrite*: ``x * (g + 1)``.

    *Preserves*: the function up to rounding; where ``x * g`` alone overflows, the sum does, too.

    *References*: Hu et al., "Squeeze-and-excitation networks", 2018 (1709.01507), section 3; the residual form is that
    of PP-OCRv4's detector.
    """

    name = "factor-residual-gate"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    patterns = (Op("Add", "x", Op("Mul", "x", "gate")),)

    def check(self, found: Match, model: ir.Model) -> str | None:
        x, gate = found["x"], found["gate"]
        if x.dtype not in FLOATS:
            return "not a floating-point tensor"
        if x.shape is None or gate.shape is None or not _is_smaller(gate.shape, x.shape):
            return "the gate is not known to be smaller than the tensor"
        producer = gate.producer()
        bounded = producer is not None and producer.domain == "" and producer.op_type in NOT_NEGATIVE
        return None if bounded else "the gate may be negative"

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        x, gate = found["x"], found["gate"]
        assert x.dtype is not None
        return build.op("Mul", x, build.op("Add", gate, np.ones((), x.dtype.numpy()), like=gate))


def _is_smaller(gate: ir.Shape, x: ir.Shape) -> bool:
    """Whether ``gate`` broadcasts to ``x``, and has one element where ``x`` has several."""
    if len(gate) > len(x):
        return False
    pairs = list(zip(reversed(gate), reversed(x), strict=False))
    fits = all(small == 1 or small == large for small, large in pairs)
    return fits and any(small == 1 and isinstance(large, int) and large > 1 for small, large in pairs)
