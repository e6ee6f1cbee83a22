"""Spread the gate of a squeeze-and-excitation block over the image, so that the product stays in the blocked layout.

::

    x * s                     ->  x * Resize<nearest>(s, scales 1, 1, H, W)        x: (N, C, H, W), s: (N, C, 1, 1)

ONNX Runtime multiplies in its blocked layout (NCHWc) only what has equal shapes. A gate of one number a channel costs
a reordering of the whole tensor before the product and another behind it; copying the gate costs less than one of them.

*Refuses*: images of unknown or different size; tensors that do not come out of the blocked layout; gates that are
constant; element types other than float32; models below opset 11.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.rewriting.pattern import Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass
from tamis.targets.onnxruntime.blocked_layout import in_blocks

OPTIONAL_REGION = 13
"""Opset from which the second input of Resize may be left out."""


class Options(PassOptions):
    """Options of ``spread-gates``."""


class SpreadGates(RewritePass[Options]):
    """Give the factor of a per-channel product the size of the image.

    *Match*: ``x * s`` with ``x: (N, C, H, W)`` and ``s: (N, C, 1, 1)``, both out of the blocked layout.

    *Rewrite*: a Resize that repeats each number of ``s``, which the blocked layout has, and the same product.

    *Preserves*: bits.

    *References*: Hu et al., "Squeeze-and-excitation networks", 2018 (1709.01507), section 3, equation 4.
    """

    name = "spread-gates"
    stage = Stage.LAYOUT
    contract = Contract.EXACT
    speed_motivated = True
    options_type = Options
    min_opset = 11
    forward = True
    patterns = (Op("Mul", "x", "gate"),)

    def check(self, found: Match, model: ir.Model) -> str | None:
        x, gate = _in_order(found)
        if x.dtype != ir.DataType.FLOAT:
            return "not float32"
        if x.shape is None or gate.shape is None or len(x.shape) != 4 or len(gate.shape) != 4:
            return "not four dimensions"
        if not all(isinstance(size, int) for size in (*x.shape[1:], *gate.shape[1:])):
            return "the size of the image is not known"
        if tuple(gate.shape) != (x.shape[0], x.shape[1], 1, 1) or tuple(x.shape[2:]) == (1, 1):
            return "no factor of one number a channel"
        if constant_tensor(gate) is not None:
            return "the gate is constant"
        return None if in_blocks(x) and in_blocks(gate) else "not behind a convolution"

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        x, gate = _in_order(found)
        assert x.shape is not None
        height, width = x.shape[2], x.shape[3]
        region = np.zeros(0, np.float32) if build.opset < OPTIONAL_REGION else None
        scales = np.array([1, 1, height, width], np.float32)
        spread = build.op(
            "Resize",
            gate,
            region,
            scales,
            like=x,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return build.op("Mul", x, spread)


def _in_order(found: Match) -> tuple[ir.Value, ir.Value]:
    """The larger of both factors, and the other."""
    x, gate = found["x"], found["gate"]
    small = x.shape is not None and len(x.shape) == 4 and tuple(x.shape[2:]) == (1, 1)
    return (gate, x) if small else (x, gate)
