"""Small nets whose units are scored in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
import onnx_ir as ir

from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tests.models import Array

Feeds = Mapping[str, Array]


def graph(text: str, weights: Mapping[str, Array] | None = None, views: tuple[int, ...] = (0,)) -> AxisGraph:
    """Of a canonicalized model; inputs but the first are weights, random where none are given."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    rng = np.random.default_rng(0)
    for value in proto.graph.input[1:]:
        array = rng.normal(size=[d.dim_value for d in value.type.tensor_type.shape.dim]).astype(np.float32)
        given = (weights or {}).get(value.name, array)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(given, value.name))
    del proto.graph.input[1:]
    model = ir.from_proto(proto)
    for i, node in enumerate(model.graph):
        node.name = node.name or f"{node.op_type}_{i}"
    Canonicalize()(model)
    return AxisGraph(model, views)


def samples(*shape: int, count: int = 16, shift: float = 0.0) -> Callable[[], Iterator[Feeds]]:
    """Normally distributed inputs called x."""

    def give() -> Iterator[Feeds]:
        for i in range(count):
            yield {"x": (np.random.default_rng(i).normal(size=shape) + shift).astype(np.float32)}

    return give


MLP = """
net (float[N, 6] x, float[6, 12] w1, float[12] b1, float[12, 5] w2, float[5] b2) => (float[N, 5] y) {
  h = Gemm(x, w1, b1)
  r = Relu(h)
  y = Gemm(r, w2, b2)
}
"""

CONVS = """
net (float[1, 3, 8, 8] x, float[12, 3, 3, 3] w1, float[12] b1, float[12, 1, 3, 3] w2, float[6, 12, 3, 3] w3,
     float[4, 6, 1, 1] w4) => (float[1, 4, 8, 8] y) {
  a = Conv<pads=[1, 1, 1, 1]>(x, w1, b1)
  r = Relu(a)
  d = Conv<pads=[1, 1, 1, 1], group=12>(r, w2)
  s = Relu(d)
  e = Conv<pads=[1, 1, 1, 1]>(s, w3)
  t = Relu(e)
  y = Conv(t, w4)
}
"""

ATTENTION = """
net (float[2, 5, 8] x, float[8, 8] wq, float[8, 8] wk, float[8, 8] wv, float[8, 8] wo) => (float[2, 5, 8] y) {
  q = MatMul(x, wq)
  k = MatMul(x, wk)
  v = MatMul(x, wv)
  split = Constant<value = int64[4] {0, 0, 2, 4}>()
  q4 = Reshape(q, split)
  k4 = Reshape(k, split)
  v4 = Reshape(v, split)
  qt = Transpose<perm = [0, 2, 1, 3]>(q4)
  kt = Transpose<perm = [0, 2, 3, 1]>(k4)
  vt = Transpose<perm = [0, 2, 1, 3]>(v4)
  a = MatMul(qt, kt)
  p = Softmax<axis = -1>(a)
  o = MatMul(p, vt)
  ot = Transpose<perm = [0, 2, 1, 3]>(o)
  join = Constant<value = int64[3] {0, 0, 8}>()
  oj = Reshape(ot, join)
  y = MatMul(oj, wo)
}
"""

LSTM = """
net (float[5, 1, 4] x, float[1, 24, 4] w, float[1, 24, 6] r, float[1, 48] b, float[6, 3] v) => (float[5, 1, 1, 3] y) {
  h, last, cell = LSTM<hidden_size = 6>(x, w, r, b)
  y = MatMul(h, v)
}
"""
