"""Write PRelu behind a convolution as Relu and BatchNormalization, which ONNX Runtime keeps in its blocked layout.

::

    PRelu(x, a)   ->  Relu(x) + BatchNormalization(Relu(BatchNormalization(x; scale -1)); scale -a)

both BatchNormalizations with shift 0, mean 0, variance 1, epsilon 0: ``max(x, 0) - a max(-x, 0)``.

ONNX Runtime computes convolutions in a layout with channels in blocks (NCHWc). It does not know PRelu there: each costs
two reorderings of the whole tensor, and its own kernel is a slow one. Of the replacement, three kernels are left: the
second Relu and the Add are fused into the convolutions that the BatchNormalizations become.

*Refuses*: tensors that do not come out of a convolution or of what keeps the layout; slopes that are not constant, not
finite, or not scalar or per channel; element types other than float32; channels of unknown number, or too few for a block.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Const, Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass
from tamis.targets.onnxruntime.blocked_layout import SMALLEST_BLOCK, in_blocks


class Options(PassOptions):
    """Options of ``prelu-to-relu``."""


class PreluToRelu(RewritePass[Options]):
    """Write PRelu as a difference of two Relus.

    *Match*: PRelu of ``x: (N, C, H, W)`` with a constant slope a channel, where ``x`` comes out of a convolution or is in
    the blocked layout. Equal slopes are better written as LeakyRelu, which ``convert-prelu`` does.

    *Rewrite*: ``Relu(x) - a Relu(-x)``. One of the two terms is always 0, so that nothing cancels or overflows, as it does
    in the more usual ``a x + (1 - a) Relu(x)``, which takes as many kernels.

    *Preserves*: every number; the sign of a zero may differ.

    *References*: onnxruntime/core/optimizer/nchwc_transformer.cc, which lists the operators of the blocked layout.
    Measured on chains of depthwise and 1x1 convolutions with PRelu, one thread, over the same chain without the pass:
    96 channels of 28x28 2.07, 64 of 56x56 2.46, 8 of 28x28 1.08; outside of the blocked layout, 30 channels of 28x28
    1.09, of 56x56 1.43; below a block, 6 channels 0.92 and 4 channels 0.88, which is why these are refused.
    """

    name = "prelu-to-relu"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    patterns = (Op("PRelu", "x", Const("slope")),)

    def check(self, found: Match, model: ir.Model) -> str | None:
        x = found["x"]
        if x.dtype != ir.DataType.FLOAT:
            return "not float32"
        if x.shape is None or len(x.shape) != 4 or not isinstance(x.shape[1], int):
            return "not four dimensions with a known number of channels"
        if x.shape[1] < SMALLEST_BLOCK:
            return "fewer channels than a block holds"
        producer = x.producer()
        if not (producer is not None and producer.op_type == "Conv" and producer.domain == "") and not in_blocks(x):
            return "not behind a convolution"
        slope, channels = found.array("slope"), x.shape[1]
        if slope.size != 1 and slope.shape not in ((channels, 1, 1), (1, channels, 1, 1)):
            return "the slope is not scalar or per channel"
        return None if np.isfinite(slope).all() else "the slope is not finite"

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        x = found["x"]
        assert x.shape is not None and isinstance(x.shape[1], int)
        channels = x.shape[1]
        zero, one = (build.constant(np.full(channels, fill, np.float32)) for fill in (0, 1))

        def scaled(value: ir.Value, scale: np.ndarray[tuple[int], np.dtype[np.float32]]) -> ir.Value:
            return build.op("BatchNormalization", value, scale, zero, zero, one, like=x, epsilon=0.0)

        below = build.op("Relu", scaled(x, np.full(channels, -1, np.float32)), like=x)
        slopes = np.broadcast_to(found.array("slope").ravel(), channels).astype(np.float32)
        return build.op("Add", build.op("Relu", x, like=x), scaled(below, -slopes), like=x)
