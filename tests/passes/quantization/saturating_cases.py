"""Products with extreme values in ONNX Runtime beside the simulator; a program, so that it can run on an emulated CPU.

Prints a JSON list ``[[name, equal to the simulator, equal to exact sums], ...]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from tamis.compiler.analysis.integer_products import IntegerProduct
from tamis.passes.layer_inputs.layer_rows import layer_rows
from tamis.passes.quantization.rounding.saturation import saturating_matmul
from tests.models import Array

MATRICES = [(1, 8, 8), (1, 7, 11), (4, 9, 17), (7, 130, 33), (3, 515, 18)]
CONVS = [
    # input channels, output channels, group, kernel, stride, dilation, border
    (8, 8, 1, (3, 3), 1, 1, 1),
    (3, 8, 1, (3, 3), 2, 1, 1),
    (5, 7, 1, (3, 2), 1, 2, 1),
    (16, 24, 1, (1, 1), 1, 1, 0),
    (6, 8, 2, (3, 3), 1, 1, 1),
    (8, 16, 8, (3, 3), 1, 1, 1),
    (8, 8, 8, (3, 3), 1, 1, 1),
    (1, 1, 1, (3, 3), 1, 1, 1),
    (6, 4, 1, (3,), 1, 1, 1),
]


def extreme(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """Mostly the largest values."""
    found: Array = rng.choice([high, high - 3, (low + high) // 2, low], shape, p=[0.5, 0.2, 0.1, 0.2]).astype(dtype)
    return found


def exact(rows: Array, weight: Array) -> Array:
    """``rows @ weight`` without clipping."""
    return rows.astype(np.int64) @ weight.astype(np.int64)


def matrices(rng: np.random.Generator) -> Iterator[tuple[str, bool, bool]]:
    """Name, whether ONNX Runtime gives what the simulator gives, whether it gives exact sums."""
    for rows, k, n in MATRICES:
        x, w = extreme(rng, 0, 255, (rows, k), np.uint8), extreme(rng, -128, 127, (k, n), np.int8)
        zero_point = int(rng.integers(0, 256))
        node = onnx.helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])
        found = run(node, x, onnx.TensorProto.INT32, w=w, zero=np.uint8(zero_point))
        shift = zero_point * w.sum(axis=0, dtype=np.int64)
        equal = [np.array_equal(found, way(x, w) - shift) for way in (saturating_matmul, exact)]
        yield f"MatMulInteger {rows} {k} {n}", equal[0], equal[1]


def convolutions(rng: np.random.Generator) -> Iterator[tuple[str, bool, bool]]:
    """The same of QLinearConv; its bias brings one position of each channel into the range of the output."""
    for channels, outputs, group, kernel, stride, dilation, border in CONVS:
        x = extreme(rng, 0, 255, (1, channels, *[7] * len(kernel)), np.uint8)
        w = extreme(rng, -128, 127, (outputs, channels // group, *kernel), np.int8)
        zero, rank = int(rng.integers(0, 256)), len(kernel)
        node = onnx.helper.make_node(
            "QLinearConv", ["x", "one", "zero", "w", "one", "zw", "one", "zy", "b"], ["y"],
            group=group, strides=[stride] * rank, dilations=[dilation] * rank, pads=[border] * 2 * rank,
        )  # fmt: skip
        product = IntegerProduct(ir.serde.deserialize_node(node), ir.Value(name="x"), w)
        parts = layer_rows(product.node, x, w.shape, 10**6, rng, fill=zero)
        equal = []
        for way in (saturating_matmul if product.saturates else exact, exact):
            sums = np.hstack(
                [way(a, b) - zero * exact(np.ones_like(a), b) for a, b in zip(parts, product.matrices(), strict=True)]
            )
            same = True
            for position in (0, len(sums) // 2, len(sums) - 1):
                bias = -sums[position].astype(np.int32)
                found = run(
                    node, x, onnx.TensorProto.UINT8, w=w, b=bias, one=np.float32(1), zero=np.uint8(zero),
                    zw=np.int8(0), zy=np.uint8(100),
                )  # fmt: skip
                same &= np.array_equal(found.reshape(outputs, -1).T, np.clip(sums + bias + 100, 0, 255))
            equal.append(same)
        yield f"QLinearConv {channels} {outputs} {group} {kernel} {stride} {dilation} {border}", equal[0], equal[1]


def run(node: onnx.NodeProto, x: Array, result: int, **constants: Any) -> Array:
    """The output of one node."""
    import onnxruntime

    make = onnx.helper.make_tensor_value_info
    weights = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    graph = onnx.helper.make_graph(
        [node], "g", [make("x", onnx.TensorProto.UINT8, x.shape)], [make("y", result, None)], weights
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
    found: Array = session.run(None, {"x": x})[0]
    return found


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    sys.stdout.write(json.dumps([*matrices(generator), *convolutions(generator)]))
