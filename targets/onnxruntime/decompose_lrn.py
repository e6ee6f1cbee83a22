"""Write LRN with a broken exponent as a sum over channels and square roots, for each of which ONNX Runtime has a fast kernel.

::

    LRN<size, alpha, beta = 3/4, bias>(x)   ->   x / (sqrt(t) sqrt(sqrt(t)))
    t = Conv<kernel = size along the channels, one filter of alpha / size, bias>(x x)

ONNX Runtime raises every number to a broken power by itself, which takes 25 ns each and 38 % of the time of GoogLeNet. A
square root costs next to nothing, and so does a sum of few products. For the Conv, channels become the first of three
spatial axes, behind a new axis of one channel: the sum reaches no further than the window, and no weight grows with the
number of channels.

*Refuses*: whole exponents, which the kernel raises to by multiplication; windows so wide that its running sum is faster;
a bias, or a factor ``alpha / size``, that is not positive and ordinary, because the base of the power must be positive;
element types other than float32, and other than four dimensions, for which ONNX Runtime has no LRN.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.pattern import Match, Op
from tamis.compiler.rewriting.rewrite_pass import Builder, RewritePass

AXES_ARE_INPUTS = 13
"""Opset from which Unsqueeze and Squeeze have their axes as an input."""
WIDEST = 63
"""Window, in channels, that is still faster as a Conv: measured, one thread, 1.5 times as fast; 95 are as fast as LRN."""


class Options(PassOptions):
    """Options of ``decompose-lrn``."""


class DecomposeLrn(RewritePass[Options]):
    """Write LRN as Conv, square roots and a division.

    *Match*: LRN of ``x: (N, C, H, W)``, float32, with an exponent ``beta`` that is not whole. No size needs to be known.

    *Rewrite*: ``t`` by a Conv over the squares, its window that of LRN: ``(size - 1) // 2`` channels before, ``size // 2``
    after, with zeros beyond the ends. Then ``x / sqrt(t)`` for beta 1/2, ``x / (sqrt(t) sqrt(sqrt(t)))`` for 3/4, and ``x
    t**-beta`` by Pow, whose kernel is faster than that of LRN, for others.

    *Shapes*: ``x: (N, C, H, W) -> (N, 1, C, H, W)`` and back.

    *Preserves*: the function up to rounding. Squares and sums overflow where they do in LRN. ONNX Runtime's own kernel
    keeps a running sum over the channels: it loses digits behind large numbers, and an infinity, NaN or overflow makes
    NaN of all later channels; here these reach the channels whose window they are in, as ONNX has it.

    *References*: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012, section
    3.3. onnxruntime/core/providers/cpu/nn/lrn.cc. Measured, one thread, together with the convolutions around it, over
    LRN: 192 channels of 55x55 5.5, 64 of 55x55 6.3, 256 of 26x26 5.8, 256 of 13x13 5.0. A 1x1 convolution with a banded
    weight, in the blocked layout, reaches 3.8, 6.1, 3.4 and 3.4; AveragePool over channels as much as the Conv up to
    opset 18, and 1.7 from 19, where it has another kernel.
    """

    name = "decompose-lrn"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    patterns = (Op("LRN", "x"),)

    def check(self, found: Match, model: ir.Model) -> str | None:
        x, (size, factor, beta, bias) = found["x"], _parameters(found.root)
        if x.dtype != ir.DataType.FLOAT:
            return "not float32"
        if x.shape is None or len(x.shape) != 4:
            return "not four dimensions"
        if not 1 <= size <= WIDEST:
            return "the window is too wide"
        if not np.isfinite(beta) or beta == np.round(beta):
            return "the exponent is whole, for which the kernel is fast"
        for name, number in (("bias", bias), ("factor", factor)):
            if not np.isfinite(number) or number < np.finfo(np.float32).tiny:
                return f"the {name} is not a positive ordinary number"
        return None

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        size, factor, beta, bias = _parameters(found.root)
        x = _with_axis("Unsqueeze", found["x"], build)
        assert found["x"].shape is not None
        n, *rest = found["x"].shape
        x.shape, x.type = ir.Shape([n, 1, *rest]), found["x"].type
        weight = np.full((1, 1, size, 1, 1), factor, np.float32)
        pads = ((size - 1) // 2, 0, 0, size // 2, 0, 0)
        squares = build.op("Mul", x, x, like=x)
        base = build.op("Conv", squares, weight, bias.reshape(1), like=x, kernel_shape=(size, 1, 1), pads=pads)
        return _with_axis("Squeeze", _over_power(x, base, beta, build), build)


def _parameters(lrn: ir.Node) -> tuple[int, np.float32, np.float32, np.float32]:
    """Size of the window, factor of the sum of squares, exponent, bias."""
    attributes = lrn.attributes
    size = attributes.get_int("size", 0) or 0
    alpha, beta, bias = (
        np.float32(attributes.get_float(name, default))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return size, alpha / np.float32(max(size, 1)), beta, bias


def _over_power(x: ir.Value, base: ir.Value, beta: np.float32, build: Builder) -> ir.Value:
    """``x / base**beta``."""
    if beta not in (0.5, 0.75):
        return build.op("Mul", x, build.op("Pow", base, np.asarray(-beta), like=x), like=x)
    root = build.op("Sqrt", base, like=x)
    power = root if beta == 0.5 else build.op("Mul", root, build.op("Sqrt", root, like=x), like=x)
    return build.op("Div", x, power, like=x)


def _with_axis(op_type: str, value: ir.Value, build: Builder) -> ir.Value:
    """Unsqueeze or Squeeze of axis 1."""
    if build.opset >= AXES_ARE_INPUTS:
        return build.op(op_type, value, np.array([1]))
    return build.op(op_type, value, axes=[1])
