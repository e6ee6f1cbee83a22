"""A small model, and what ONNX Runtime's own quantizers make of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from tests.models import Array, model, random

FORMS = ("QDQ", "QDQ per channel", "QDQ int8", "QOperator", "QOperator int8", "dynamic", "dynamic uint8")
X: dict[str, Array] = {"x": random(4, 3, 12, 12, seed=90)}
TEXT = """g (float[N, 3, 12, 12] x) => (float[N, 5] y) {
    a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1) r = Relu(a)
    d = Conv<pads = [1, 1, 1, 1], group = 8>(r, w2, b2) c = Clip(d, lo, hi)
    s = Add(r, c) l = LeakyRelu<alpha = 0.1>(s) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(l)
    sg = Sigmoid(p) q = Mul(p, sg) cc = Concat<axis = 1>(q, p) av = GlobalAveragePool(cc)
    f = Flatten(av) t = MatMul(f, w3) u = Relu(t) y = Gemm(u, w4, b4)
}"""


def float_model() -> ir.Model:
    """Convolutions with ReLU and ReLU6, depthwise ones, data movement, matrix products."""
    weights: dict[str, Array] = {
        "w1": 0.3 * random(8, 3, 3, 3, seed=1),
        "b1": 0.3 * random(8, seed=2),
        "w2": 0.3 * random(8, 1, 3, 3, seed=3),
        "b2": 0.3 * random(8, seed=4),
        "lo": np.array(0, np.float32),
        "hi": np.array(6, np.float32),
        "w3": 0.3 * random(16, 16, seed=5),
        "w4": 0.3 * random(16, 5, seed=6),
        "b4": 0.3 * random(5, seed=7),
    }
    return model(TEXT, **weights)


def quantized(form: str) -> ir.Model:
    """The model in one of ``FORMS``, with weights of 7 bits: sums of 8 bits overflow on x86 CPUs without VNNI."""
    return ir.from_proto(onnx.load_from_string(_quantized(form)))


@cache
def _quantized(form: str) -> bytes:
    from onnxruntime import quantization as ort

    class Samples(ort.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[dict[str, Any]] = iter([{"x": random(4, 3, 12, 12, seed=s)} for s in range(4)])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(ir.to_proto(float_model()), source)
        if form.startswith("dynamic"):
            kind = ort.QuantType.QUInt8 if "uint8" in form else ort.QuantType.QInt8
            ort.quantize_dynamic(source, out, weight_type=kind, reduce_range=True)
        else:
            ort.quantize_static(
                source,
                out,
                Samples(),
                quant_format=ort.QuantFormat.QDQ if "QDQ" in form else ort.QuantFormat.QOperator,
                activation_type=ort.QuantType.QInt8 if "int8" in form else ort.QuantType.QUInt8,
                weight_type=ort.QuantType.QInt8,
                reduce_range=True,
                per_channel="per channel" in form,
            )
        return out.read_bytes()
