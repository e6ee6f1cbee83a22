"""Small networks whose widths cost something, and made-up groups, curves and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.allocation.cost import Widths
from tamis.passes.pruning.axes.axis import Axis, Role
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.group import Group, Member
from tamis.passes.pruning.importance.curve import Curve
from tests import models
from tests.models import Array, random


def plain() -> ir.Model:
    """Convolutions, one of them depthwise, then a classifier over flattened channels."""
    return models.model(
        """g (float[1, 3, 12, 12] x) => (float[1, 10] y) {
            a = Conv<pads=[1, 1, 1, 1]>(x, w0, b0) ar = Relu(a)
            d = Conv<pads=[1, 1, 1, 1], group=32>(ar, w1) dr = Relu(d)
            c = Conv<strides=[2, 2]>(dr, w2) cr = Relu(c)
            f = Flatten(cr) y = Gemm<transB=1>(f, w3, b3) }""",
        w0=random(32, 3, 3, 3), b0=random(32), w1=random(32, 1, 3, 3), w2=random(24, 32, 3, 3),
        w3=random(10, 24 * 25), b3=random(10),
    )  # fmt: skip


def residual() -> ir.Model:
    """A block with a sum, and a gate of squeeze-excite on its branch."""
    return models.model(
        """g (float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
            s = Conv(x, w0) sr = Relu(s)
            a = Conv<pads=[1, 1, 1, 1]>(sr, w1) ar = Relu(a)
            p = GlobalAveragePool(ar) q = Conv(p, w2) qr = Relu(q) e = Conv(qr, w3) g = Sigmoid(e)
            m = Mul(ar, g) b = Conv(m, w4)
            t = Add(sr, b) tr = Relu(t) y = Conv(tr, w5) }""",
        w0=random(24, 16, 1, 1), w1=random(40, 24, 3, 3), w2=random(8, 40, 1, 1), w3=random(40, 8, 1, 1),
        w4=random(24, 40, 1, 1), w5=random(16, 24, 1, 1),
    )  # fmt: skip


def joined() -> ir.Model:
    """Two branches and the input side by side, one weight that two nodes read, and a transposed convolution."""
    return models.model(
        """g (float[1, 4, 8, 8] x) => (float[1, 6, 16, 16] y) {
            a = Conv(x, w0) b = Conv(x, w1) c = Concat<axis=1>(a, x, b) cr = Relu(c)
            cl = LeakyRelu(c) d = Conv(cr, w2) e = Conv(cl, w2) f = Add(d, e) fr = Relu(f)
            u = ConvTranspose<strides=[2, 2]>(fr, w3) ur = Relu(u) y = Conv(ur, w4) }""",
        w0=random(12, 4, 1, 1), w1=random(20, 4, 1, 1), w2=random(16, 36, 1, 1), w3=random(16, 12, 2, 2),
        w4=random(6, 12, 1, 1),
    )  # fmt: skip


def recurrent() -> ir.Model:
    """A product of matrices, an LSTM and a product again."""
    return models.model(
        """g (float[5, 2, 6] x) => (float[5, 2, 3] y) {
            a = MatMul(x, w0) ar = Relu(a)
            h, last, cell = LSTM<hidden_size=20>(ar, wx, wr, b) axes = Constant<value_ints=[1]>()
            s = Squeeze(h, axes) y = MatMul(s, w1) }""",
        w0=random(6, 24), wx=random(1, 80, 24), wr=random(1, 80, 20), b=random(1, 160), w1=random(20, 3),
    )  # fmt: skip


def attention() -> ir.Model:
    """Four heads of eight."""
    return models.model(
        """g (float[2, 5, 12] x) => (float[2, 5, 12] y) {
            q0 = MatMul(x, wq) k0 = MatMul(x, wk) v0 = MatMul(x, wv) s = Constant<value_ints=[2, 5, 4, 8]>()
            q1 = Reshape(q0, s) k1 = Reshape(k0, s) v1 = Reshape(v0, s)
            q = Transpose<perm=[0, 2, 1, 3]>(q1) k = Transpose<perm=[0, 2, 3, 1]>(k1)
            v = Transpose<perm=[0, 2, 1, 3]>(v1) a = MatMul(q, k) p = Softmax(a) o = MatMul(p, v)
            t = Transpose<perm=[0, 2, 1, 3]>(o) s2 = Constant<value_ints=[2, 5, 32]>() f = Reshape(t, s2)
            y = MatMul(f, wo) }""",
        wq=random(12, 32), wk=random(12, 32), wv=random(12, 32), wo=random(32, 12),
    )  # fmt: skip


NETS: Mapping[str, Callable[[], ir.Model]] = {
    "plain": plain,
    "residual": residual,
    "joined": joined,
    "recurrent": recurrent,
    "attention": attention,
}


def axis_graph(model: ir.Model) -> AxisGraph:
    """Of a model in canonical form."""
    Canonicalize()(model)
    return AxisGraph(model)


def group(name: str, units: int, *each: int) -> Group:
    """A group that a weight makes, with so many positions a unit on each of some weights; one on one by default."""
    members = []
    for i, n in enumerate(each or (1,)):
        axis = Axis(ir.Value(name=f"{name}_{i}"), 0)
        members.append(Member(axis, np.arange(units * n).reshape(units, n), Role.CONSUME if i else Role.PRODUCE))
    return Group(name, units, tuple(members))


def curve(losses: Sequence[float] | Array) -> Curve:
    """Of units that lose so much, one after the other."""
    return Curve(np.arange(len(losses)), np.concatenate([[0.0], np.cumsum(losses)]))


class Separable:
    """A cost that adds up over groups.

    Args:
        tables: Group -> cost by units left.
    """

    unit = "ns"

    def __init__(self, tables: Mapping[Group, Callable[[int], float]]) -> None:
        self.tables = tables

    def whole(self, widths: Widths) -> float:
        """See ``Cost``."""
        return sum(table(widths.get(g, g.units)) for g, table in self.tables.items())

    def savings(self, widths: Widths, group: Group, fewer: int) -> float:
        """See ``Cost``."""
        left = widths.get(group, group.units)
        return self.tables[group](left) - self.tables[group](left - fewer)
