from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.widen_sequences import WidenSequences
from tests.models import Array, assert_close, check, model, op_types, random, run

C, L = 6, 23
SHAPES = {
    "one": (1, C, L),
    "one column": (1, C, L, 1),
    "batch": (5, C, L),
    "columns": (5, C, L, 1),
    "rows": (5, C, 1, L),
}
CHAIN = """a = Conv<strides = [2], pads = [3, 1]>(x, w, b) r = Relu(a)
    n = BatchNormalization<epsilon = 0.01>(r, s, t, m, u)
    p = MaxPool<kernel_shape = [2], strides = [2]>(n) y = Conv<pads = [1, 1], dilations = [2]>(p, v)"""
PER_CHANNEL = {"b": random(8), "s": random(8, seed=1), "t": random(8, seed=2), "m": random(8, seed=3)}
PER_CHANNEL |= {"u": 1 + np.abs(random(8, seed=4))}
WEIGHTS = {"w": 0.3 * random(8, C, 5, seed=5), "v": 0.3 * random(4, 8, 3, seed=6), **PER_CHANNEL}


def net(lines: str, shape: tuple[int | str, ...], weights: dict[str, Array], kind: str = "float") -> ir.Model:
    """A model with all shapes inferred, as ``canonicalize`` leaves it."""
    out = ", ".join(f"o{i}" for i in range(len(shape)))
    found = model(f"g ({kind}[{', '.join(map(str, shape))}] x) => ({kind}[{out}] y) {{ {lines} }}", **weights)
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), data_prop=True))


def on_axis(text: str, shape: tuple[int, ...]) -> str:
    """Attributes of one axis, written for two if ``shape`` has two."""
    if len(shape) == 3:
        return text
    column = shape[3] == 1
    for name in ("strides", "dilations", "kernel_shape"):
        for number in "25":
            pair = f"{number}, 1" if column else f"1, {number}"
            text = text.replace(f"{name} = [{number}]", f"{name} = [{pair}]")
    for begin, end in (("3", "1"), ("1", "1")):
        four = f"{begin}, 0, {end}, 0" if column else f"0, {begin}, 0, {end}"
        text = text.replace(f"pads = [{begin}, {end}]", f"pads = [{four}]")
    return text


def weights_for(shape: tuple[int, ...], weights: dict[str, Array]) -> dict[str, Array]:
    if len(shape) == 3:
        return weights
    axis = 3 if shape[3] == 1 else 2
    return {k: np.expand_dims(a, axis) if a.ndim == 3 else a for k, a in weights.items()}


def widen(found: ir.Model) -> PassResult:
    result = WidenSequences()(found)
    check(found)
    assert not WidenSequences()(found).modified
    return result


def widened(found: ir.Model, shape: tuple[int, ...], count: int) -> list[str]:
    feeds = {"x": random(*shape, seed=9)}
    wanted = run(found, feeds)
    assert widen(found).counts == {"widened": count}
    assert_close(wanted, run(found, feeds))
    assert_close(wanted, run(found, feeds, optimize=True))
    return op_types(found)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_chain_in_every_form(shape: tuple[int, ...]) -> None:
    found = net(on_axis(CHAIN, shape), shape, weights_for(shape, WEIGHTS))
    ops = widened(found, shape, 5)
    inner = ["Conv", "Relu", "BatchNormalization", "MaxPool", "Conv"]
    ends = ["Reshape"] if shape[0] == 1 else ["Transpose"]
    expected = [*ends, *inner, *ends]
    if shape[0] > 1 and len(shape) == 3:
        expected = ["Transpose", "Reshape", *inner, "Reshape", "Transpose"]
    assert ops == expected


@pytest.mark.parametrize("shape", [(1, C, L), (5, C, L)])
@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ("a = Conv(x, w) y = Sigmoid(a)", 2),
        ("a = Conv(x, w) q = Mul(a, a) y = Add(q, k)", 3),
        ("a = Conv(x, w) q = Sub(c, a) y = Div(q, d)", 3),
        ("a = Conv(x, w) y = Slice(a, lo, hi, ax)", 2),
        ('a = Conv(x, w) y = Pad<mode = "reflect">(a, pads)', 2),
        ("a = Conv(x, w) q = Neg(a) y = Concat<axis = 1>(a, q)", 3),
        ("a = Conv(x, w) q = Neg(a) y = Concat<axis = -1>(a, q)", 3),
        ("a = Conv(x, w) y = AveragePool<kernel_shape = [3], pads = [1, 1], count_include_pad = 1>(a)", 2),
        ('a = Conv<auto_pad = "SAME_UPPER">(x, w) y = Clip(a, k, e)', 2),
        ("a = Conv<group = 2>(x, g) y = Pow(a, two)", 2),
    ],
)
def test_operators(lines: str, count: int, shape: tuple[int, ...]) -> None:
    numbers: dict[str, Array] = {
        "w": 0.3 * random(8, C, 5),
        "g": 0.3 * random(8, C // 2, 5),
        "k": np.array(0.1, np.float32),
        "e": np.array(0.5, np.float32),
        "two": np.array([2.0], np.float32),
        "c": random(8, 1),
        "d": 2 + np.abs(random(1, 8, 1)),
        "lo": np.array([-4, 1]),
        "hi": np.array([9, 7]),
        "ax": np.array([2, 1]),
        "pads": np.array([0, 0, 2, 0, 0, 3]),
    }
    used = {k: v for k, v in numbers.items() if f", {k})" in lines or f"({k}," in lines or f", {k}," in lines}
    widened(net(lines, shape, used), shape, count)


def test_a_residual_block_and_what_others_read() -> None:
    lines = "a = Conv<pads = [2, 2]>(x, w) r = Relu(a) b = Conv<pads = [2, 2]>(r, w) s = Add(a, b) y = Softmax(s)"
    found = net(lines, (3, C, L), {"w": 0.3 * random(C, C, 5)})
    ops = widened(found, (3, C, L), 4)
    assert ops == ["Transpose", "Reshape", "Conv", "Relu", "Conv", "Add", "Reshape", "Transpose", "Softmax"]


def test_two_convolutions_share_the_way_in() -> None:
    found = model(
        "g (float[1, 6, 23] x) => (float[1, 8, 19] y, float[1, 8, 19] z) { y = Conv(x, w) z = Conv(x, w) }",
        w=0.3 * random(8, C, 5),
    )
    ops = widened(found, (1, C, L), 2)
    assert ops.count("Reshape") == 3
    assert [v.name for v in found.graph.outputs] == ["y", "z"]
    assert "w" not in found.graph.initializers


def test_a_pool_over_all_positions() -> None:
    lines = "a = Conv(x, w) y = GlobalAveragePool(a)"
    weight = 0.3 * random(8, C, 5)
    widened(net(lines, (1, C, L), {"w": weight}), (1, C, L), 2)
    found = net(lines, (5, C, L), {"w": weight})
    assert "it would pool over the batch" in {s.reason for s in WidenSequences()(found.clone()).skips}
    widened(found, (5, C, L), 1)


def test_a_shared_weight_stays() -> None:
    found = model(
        "g (float[1, 6, 23] x) => (float[1, 8, 19] y, float[8, 6, 5] z) { y = Conv(x, w) z = Neg(w) }",
        w=0.3 * random(8, C, 5),
    )
    widened(found, (1, C, L), 1)
    assert "w" in found.graph.initializers


def test_dynamic_length() -> None:
    for shape in ((1, C, "L"), (4, C, "L")):
        found = net(CHAIN, shape, WEIGHTS)
        feeds = {"x": random(shape[0], C, 31)}
        wanted = run(found, feeds)
        assert widen(found).modified
        assert_close(wanted, run(found, feeds))


def test_in_a_subgraph_that_captures() -> None:
    found = model(
        """g (bool c, float[1, 6, 23] x) => (float[1, 8, 19] y) {
            a = Conv(x, w)
            y = If (c) <
                then_branch = t () => (float[1, 8, 19] p) { p = Relu(a) },
                else_branch = e () => (float[1, 8, 19] q) { q = Conv(x, w) }
            >
        }""",
        w=0.3 * random(8, C, 5),
    )
    found = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found)))
    feeds = [{"c": np.array(c), "x": random(1, C, L)} for c in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert widen(found).counts == {"widened": 2}
    for w, f in zip(wanted, feeds, strict=True):
        assert_close(w, run(found, f))


@pytest.mark.parametrize(
    "found",
    [
        net("y = Conv(x, w)", ("N", C, L), {"w": random(8, C, 5)}),
        net("y = Conv(x, w)", (1, C, L), {"w": random(8, C, 1)}),
        net("y = Conv(x, w)", (1, C, L), {"w": random(8, C, 5, dtype=np.float64)}, "double"),
        net("y = Conv<pads = [0, 1, 0, 1]>(x, w)", (1, C, L, 1), {"w": random(8, C, 5, 1)}),
        net("y = Conv(x, w)", (1, C, 1, L), {"w": random(8, C, 1, 5)}),
        net("y = Conv(x, w)", (1, C, L, 3), {"w": random(8, C, 5, 1)}),
        net("n = Identity(w) y = Conv(x, n)", (1, C, L), {"w": random(8, C, 5)}),
        net("y = Relu(x)", (1, C, L), {}),
    ],
)
def test_what_is_left_alone(found: ir.Model) -> None:
    assert not widen(found).modified


def test_old_opsets() -> None:
    old = model("g (float[1, 6, 23] x) => (float[1, 8, 19] y) { y = Conv(x, w) }", 9, w=random(8, C, 5))
    assert [s.reason for s in widen(old).skips] == ["opset below 10"]
