"""A small convolutional network and a transformer block, with static shapes."""

from __future__ import annotations

import onnx_ir as ir

from tests.models import model, random

CNN = """g (float[1, 3, 32, 32] x) => (float[1, 10] y) {
  c0 = Conv<pads=[1,1,1,1], strides=[2,2]>(x, W0, B0)
  r0 = Relu(c0)
  c1 = Conv<pads=[1,1,1,1], group=8>(r0, W1, B1)
  r1 = HardSwish(c1)
  c2 = Conv(r1, W2, B2)
  m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c2)
  g0 = GlobalAveragePool(m)
  f = Flatten(g0)
  l = Gemm<transB=1>(f, W3, B3)
  y = Softmax<axis=-1>(l)
}"""
BLOCK = """g (float[1, 16, 32] x) => (float[1, 16, 32] y) {
  q = MatMul(x, WQ)
  k = MatMul(x, WK)
  v = MatMul(x, WV)
  kt = Transpose<perm=[0,2,1]>(k)
  s = MatMul(q, kt)
  p = Softmax<axis=-1>(s)
  a = MatMul(p, v)
  r = Add(x, a)
  n = LayerNormalization<axis=-1>(r, G, B)
  h = MatMul(n, W1)
  t = Gelu(h)
  o = MatMul(t, W2)
  y = Add(n, o)
}"""
DYNAMIC = "g (float[N, 64] x) => (float[N, 32] y) { h = MatMul(x, W) y = Relu(h) }"


def cnn() -> ir.Model:
    """Dense, depthwise and pointwise convolutions, pooling, a product and a softmax."""
    return model(
        CNN,
        W0=random(8, 3, 3, 3) / 5,
        B0=random(8),
        W1=random(8, 1, 3, 3) / 3,
        B1=random(8),
        W2=random(16, 8, 1, 1) / 3,
        B2=random(16),
        W3=random(10, 16) / 4,
        B3=random(10),
    )


def block() -> ir.Model:
    """Attention with one head, and a feed-forward layer."""
    square = {name: random(32, 32, seed=i) / 6 for i, name in enumerate(("WQ", "WK", "WV"))}
    return model(BLOCK, 20, **square, G=random(32), B=random(32), W1=random(32, 64) / 6, W2=random(64, 32) / 8)


def dynamic() -> ir.Model:
    """A layer whose batch is not known."""
    return model(DYNAMIC, W=random(64, 32))
