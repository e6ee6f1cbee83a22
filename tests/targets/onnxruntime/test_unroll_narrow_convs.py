from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.narrow_convs import Window, choose
from tamis.targets.onnxruntime.unroll_narrow_convs import UnrollNarrowConvs
from tests.models import Array, assert_close, check, model, op_types, random, run

SIZE = 33, 40


def net(
    attributes: str = "pads = [2, 2, 2, 2]",
    lines: str = "y = Sigmoid(v)",
    filters: int = 1,
    kernel: tuple[int, int] = (5, 5),
    size: tuple[int | str, int | str] = SIZE,
    opset: int = 17,
    weights: dict[str, Array] | None = None,
) -> ir.Model:
    weights = {"w": 0.2 * random(filters, 8, *kernel, seed=1), "b": random(filters, seed=2), **(weights or {})}
    height, width = size
    return model(
        f"g (float[N, 8, {height}, {width}] x) => (float[N, {filters}, h, v0] y) {{ v = Conv<{attributes}>(x, w, b) {lines} }}",
        opset,
        **weights,
    )


def unroll(found: ir.Model) -> PassResult:
    result = UnrollNarrowConvs()(found)
    check(found)
    assert not UnrollNarrowConvs()(found).modified
    return result


def unrolled(found: ir.Model, size: tuple[int, int] = SIZE) -> list[str]:
    feeds = {"x": random(2, 8, *size, seed=3)}
    wanted = run(found, feeds)
    assert unroll(found).counts == {"unrolled": 1}
    assert_close(wanted, run(found, feeds))
    assert_close(wanted, run(found, feeds, optimize=True))
    return op_types(found)


@pytest.mark.parametrize("filters", [1, 2, 3])
@pytest.mark.parametrize(
    "attributes",
    [
        "pads = [2, 2, 2, 2]",
        "pads = [0, 1, 3, 4]",
        "strides = [1, 2]",
        "strides = [3, 2], pads = [2, 0, 0, 2]",
        'auto_pad = "VALID", strides = [2, 1]',
        "dilations = [1, 1], group = 1",
    ],
)
def test_windows(attributes: str, filters: int) -> None:
    unrolled(net(attributes, filters=filters))


@pytest.mark.parametrize("kernel", [(1, 9), (9, 1), (3, 3)])
def test_kernels(kernel: tuple[int, int]) -> None:
    unrolled(net("pads = [1, 1, 1, 1]", kernel=kernel))


@pytest.mark.parametrize("size", [(5, 5), (7, 5), (9, 33)])
def test_positions_that_no_power_of_two_divides(size: tuple[int, int]) -> None:
    found = net("strides = [1, 1]", kernel=(3, 3), size=size)
    unrolled(found, size)  # a second look finds nothing more


def test_one_row_of_positions() -> None:
    ops = unrolled(net("strides = [1, 2]", kernel=(1, 16), size=(1, 301)), size=(1, 301))
    assert ops.count("Transpose") == 1


@pytest.mark.parametrize(
    ("lines", "followers"),
    [
        ("y = Relu(v)", ["Relu"]),
        ("y = Clip(v, low, high)", ["Clip"]),
        ("a = LeakyRelu<alpha = 0.1>(v) y = Tanh(a)", ["LeakyRelu", "Tanh"]),
        ("a = Relu(v) y = BatchNormalization<epsilon = 0.01>(a, s, t, m, u)", ["Relu", "BatchNormalization"]),
    ],
)
def test_what_follows_comes_before_the_transposes(lines: str, followers: list[str]) -> None:
    numbers = {"low": np.array(-0.5, np.float32), "high": np.array(0.5, np.float32)}
    per_channel = {"s": random(2), "t": random(2, seed=1), "m": random(2, seed=2), "u": 1 + np.abs(random(2, seed=3))}
    used = {k: v for k, v in {**numbers, **per_channel}.items() if f", {k}" in lines}
    ops = unrolled(net(lines=lines, filters=2, weights=used))
    assert ops[: 2 + len(followers)] == ["Conv", *followers, "Reshape"]


def test_what_others_read_too() -> None:
    found = model(
        """g (float[2, 8, 33, 40] x) => (float[2, 1, 29, 36] y, float[2, 1, 29, 36] z) {
            v = Conv(x, w) y = Relu(v) z = Tanh(v)
        }""",
        w=0.2 * random(1, 8, 5, 5),
    )
    ops = unrolled(found)
    assert ops.index("Relu") > ops.index("Transpose") and ops.index("Tanh") > ops.index("Transpose")


def test_at_the_graph_output() -> None:
    found = model("g (float[2, 8, 33, 40] x) => (float[2, 1, 29, 36] y) { y = Conv(x, w) }", w=0.2 * random(1, 8, 5, 5))
    unrolled(found)
    assert [v.name for v in found.graph.outputs] == ["y"]
    assert "w" not in found.graph.initializers


def test_a_shared_weight_stays() -> None:
    found = model(
        "g (float[2, 8, 33, 40] x) => (float[2, 1, 29, 36] y, float[1, 8, 5, 5] z) { y = Conv(x, w) z = Neg(w) }",
        w=0.2 * random(1, 8, 5, 5),
    )
    unrolled(found)
    assert "w" in found.graph.initializers


def test_in_a_subgraph() -> None:
    found = model(
        """g (bool c, float[2, 8, 33, 40] x) => (float[2, 1, 29, 36] y) {
            y = If (c) <
                then_branch = t () => (float[2, 1, 29, 36] a) { a = Conv(x, w) },
                else_branch = e () => (float[2, 1, 29, 36] b) { n = Neg(x) b = Conv(n, w) }
            >
        }""",
        w=0.2 * random(1, 8, 5, 5),
    )
    for graph in found.graphs():
        for node in graph:
            if node.op_type == "Neg":
                node.outputs[0].shape = ir.Shape([2, 8, 33, 40])
    feeds = [{"c": np.array(c), "x": random(2, 8, 33, 40)} for c in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert unroll(found).counts == {"unrolled": 2}
    for w, f in zip(wanted, feeds, strict=True):
        assert_close(w, run(found, f))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (net("dilations = [2, 1]"), "groups or dilations"),
        (net('auto_pad = "SAME_UPPER"'), "the padding depends on the size"),
        (net(size=("H", 40)), "the size of the input is not known"),
        (net(weights={"w": np.full((1, 8, 5, 5), np.inf, np.float32)}), "the weight is not finite"),
        (net(opset=9, lines="y = Relu(v)"), "opset below 10"),
    ],
)
def test_near_misses(found: ir.Model, reason: str) -> None:
    result = unroll(found)
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


def test_filters_over_a_signal_are_left_alone() -> None:
    found = model(
        "g (float[1, 1, 1, 900] x) => (float[1, 1, 1, 323] y) { y = Conv<strides = [1, 2]>(x, w) }",
        w=random(1, 1, 1, 256),
    )
    result = unroll(found)
    assert not result.modified
    assert [skip.reason for skip in result.skips] == ["one channel, so that the order of summation may show"]


def test_double_is_left_alone() -> None:
    found = model(
        "g (double[2, 8, 33, 40] x) => (double[2, 1, 29, 36] y) { y = Conv(x, w) }",
        w=random(1, 8, 5, 5, dtype=np.float64),
    )
    assert [skip.reason for skip in unroll(found).skips] == ["not in the blocked layout"]


def test_enough_filters_are_left_alone() -> None:
    assert not unroll(net(filters=9)).modified
    assert not unroll(net(filters=8, kernel=(1, 1), attributes="pads = [0, 0, 0, 0]")).modified


def test_the_estimate() -> None:
    window = Window(1, 32, (172, 88), (7, 3), (1, 1), (3, 1), (3, 1))
    by = choose(window, 16)
    assert by is not None and by[0] * by[1] >= 16
    assert window.unrolled(by).time(16) < window.time(16) / 3
    assert window.unrolled((2, 2)).unrolled((2, 4)) == window.unrolled((4, 8))
