"""A small network whose layers differ in what quantization does to them, and a way to quantize any of its units."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import runtime_class
from tamis.passes.quantization.calibration.tensor_statistics import gather
from tamis.passes.quantization.placement.islands import build_islands
from tamis.passes.quantization.placement.static_quantizer import StaticQuantizer, key_of
from tamis.passes.quantization.placement.unit_weights import nearest
from tamis.passes.quantization.placement.units import Unit, find_units
from tests import models

NETWORK = """g (float[1, 8, 16, 16] x) => (float[1, 4] y)
  <float[1, 16, 16, 16] a, float[1, 16, 16, 16] r, float[1, 16, 8, 8] p, float[1, 16, 8, 8] b, float[1, 16, 8, 8] s,
   float[1, 16, 8, 8] c, float[1, 16, 8, 8] t, float[1, 16, 1, 1] g, float[1, 16] f> {
    [stem] a = Conv<pads=[1, 1, 1, 1]>(x, wa)
    [relu] r = Relu(a)
    [pool] p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(r)
    [body] b = Conv<pads=[1, 1, 1, 1]>(p, wb)
    [add] s = Add(b, p)
    [tail] c = Conv<pads=[1, 1, 1, 1]>(s, wc)
    [tanh] t = Tanh(c)
    [mean] g = GlobalAveragePool(t)
    [flat] f = Flatten(g)
    [head] y = Gemm(f, wd, bd)
}"""


def network() -> ir.Model:
    """Four units: stem, body, tail, head. MaxPool and Add stay integer between the first three."""
    return models.model(
        NETWORK, 17,
        wa=models.random(16, 8, 3, 3) / 8, wb=models.random(16, 16, 3, 3, seed=1) / 12,
        wc=models.random(16, 16, 3, 3, seed=2) / 12, wd=models.random(16, 4, seed=3), bd=models.random(4, seed=4),
    )  # fmt: skip


def samples() -> Iterator[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    """Calibration data."""
    for seed in range(6):
        yield {"x": models.random(1, 8, 16, 16, seed=10 + seed)}


def table() -> Int8Kernels:
    """What ONNX Runtime does in integers here."""
    found = runtime_class("onnxruntime")().int8_kernels(find_machine("host"))
    assert found is not None
    return found


@functools.cache
def quantizer() -> StaticQuantizer:
    """Ranges from all samples, weights rounded to nearest."""
    model, kernels = network(), table()
    units = find_units(model, kernels)
    islands = build_islands(model, kernels, units)
    statistics = gather(model, [str(v.name) for v in islands.quantized], samples, quiet=True)
    ranges = {name: (each.low, each.high) for name, each in statistics.items()}
    weights = {key_of(unit): nearest(unit, per_channel=True, pair_safe=False) for unit in units}
    return StaticQuantizer(kernels, ranges, weights)


def quantized(model: ir.Model, units: Sequence[Unit]) -> ir.Model:
    """A copy of the network in which the given units are integer."""
    return quantizer().copy(model, [key_of(unit) for unit in units])
