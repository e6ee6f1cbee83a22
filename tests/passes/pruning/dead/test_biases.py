"""What constant channels add, in every form of a product, against the product itself."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.passes.pruning.axes.axis import Axis, Slot
from tamis.passes.pruning.dead.biases import added, takes
from tests.models import Array, random
from tests.passes.pruning.dead.dead_nets import BIAS, WEIGHTS, channels, eliminate, ready

FIRST = "f = Gemm<transB = 1>(x, wg, b) r = Relu(f)"  # (4, 8): channels 1 and 3 .. as in dead_nets, along the columns
TURNED = f"{FIRST} z = Transpose<perm = [1, 0]>(r)"
CONSTANTS = {
    "wg": WEIGHTS["wg"],
    "b": BIAS,
    "right": random(8, 5, seed=1),
    "left": random(5, 8, seed=2),
    "vector": random(8, seed=3),
    "many": random(3, 8, 5, seed=4),
    "lefts": random(3, 5, 8, seed=5),
    "row": random(5, seed=6),
    "column": random(5, 1, seed=7),
    "one": random(1, seed=8),
    "table": random(4, 5, seed=9),
}
FORMS = {
    "right": (f"{FIRST} y = MatMul(r, right)", "float[4, 5] y"),
    "left": (f"{TURNED} y = MatMul(left, z)", "float[5, 4] y"),
    "a vector": (f"{FIRST} y = MatMul(r, vector)", "float[4] y"),
    "a vector on the left": (f"{TURNED} y = MatMul(vector, z)", "float[4] y"),
    "many": (f"{FIRST} y = MatMul(r, many)", "float[3, 4, 5] y"),
    "many on the left": (f"{TURNED} y = MatMul(lefts, z)", "float[3, 5, 4] y"),
    "a number is added": (f"{FIRST} m = MatMul(r, right) y = Add(one, m)", "float[4, 5] y"),
    "a table is added": (f"{FIRST} m = MatMul(r, right) y = Add(m, table)", "float[4, 5] y"),
    "two readers of the product": (f"{FIRST} m = MatMul(r, right) n = Add(m, row) y = Mul(m, n)", "float[4, 5] y"),
    "subtracted": (f"{FIRST} m = MatMul(r, right) y = Sub(row, m)", "float[4, 5] y"),
    "Gemm": (f"{FIRST} y = Gemm<alpha = 0.3, beta = 3.0>(r, right, row)", "float[4, 5] y"),
    "Gemm with a table": (f"{FIRST} y = Gemm<alpha = 0.3, beta = 3.0>(r, right, table)", "float[4, 5] y"),
    "Gemm with a number": (f"{FIRST} y = Gemm<transB = 1, beta = 3.0>(r, left, one)", "float[4, 5] y"),
    "turned Gemm": (f"{TURNED} y = Gemm<transA = 1>(z, right)", "float[4, 5] y"),
    "left Gemm": (f"{TURNED} y = Gemm<alpha = 2.0>(left, z, column)", "float[5, 4] y"),
    "left Gemm, both turned": (f"{FIRST} y = Gemm<alpha = 2.0, transA = 1, transB = 1>(right, r)", "float[5, 4] y"),
}


@pytest.mark.parametrize(("lines", "outputs"), FORMS.values(), ids=FORMS.keys())
def test_a_constant_feature_is_folded(lines: str, outputs: str) -> None:
    words = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: array for name, array in CONSTANTS.items() if name in words}
    found = ready(lines, "float[4, 6] x", outputs, **used)
    result = eliminate(found, {"x": random(4, 6, seed=20)})
    assert channels(result) == {"zero": 1, "constant": 1, "duplicate": 1}


def test_a_bias_that_is_computed_takes_nothing_over() -> None:
    lines = f"{FIRST} m = ReduceMax<axes = [1], keepdims = 1>(x) y = Gemm(r, right, m)"
    found = ready(lines, "float[4, 6] x", "float[4, 5] y", **{n: CONSTANTS[n] for n in ("wg", "b", "right")})
    assert channels(eliminate(found, {"x": random(4, 6, seed=20)})) == {"zero": 1, "duplicate": 1}


def conv(attributes: str, weight: Array) -> Axis:
    """The input axis of a Conv."""
    found = ready(f"y = Conv<{attributes}>(x, w)", "float[1, 6, 9, 9] x", "float[1, A, H, V] y", w=weight)
    node: ir.Node = next(iter(found.graph))
    return Axis(Slot(node, 1), 1)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_what_a_convolution_adds(group: int) -> None:
    weight, value = random(6, 6 // group, 3, 2, seed=1), random(6 // group, group, seed=2, dtype=np.float64)
    found = added(conv(f"group = {group}", weight), value)
    image = value.T.reshape(1, 6)  # channel j + k C / g
    wanted = [
        sum(
            image[0, m // (6 // group) * (6 // group) + j] * weight[m, j].sum(dtype=np.float64)
            for j in range(6 // group)
        )
        for m in range(6)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_which_channels_of_a_padded_convolution_may_be_constant() -> None:
    weight = random(4, 6, 3, 3, seed=3)
    weight[:, 1, [0, 2]] = 0
    weight[:, 2, 0] = 0
    weight[:, 3] = 0
    assert takes(conv("pads = [1, 0, 1, 0]", weight)).tolist() == [False, True, False, True, False, False]
    assert takes(conv("pads = [1, 0, 0, 0]", weight)).tolist() == [False, True, True, True, False, False]
    assert takes(conv("""auto_pad = "SAME_UPPER" """, weight)).tolist() == [False, False, False, True, False, False]
    assert takes(conv("strides = [2, 2]", weight)).all()
