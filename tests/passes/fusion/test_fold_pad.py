from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.fold_pad import FoldPad
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run

W = 0.3 * random(4, 3, 3, 3, seed=1)
X = random(2, 3, 9, 8, seed=2)
AMOUNTS = np.array([0, 0, 1, 0, 0, 0, 2, 1])
NUMBERS: dict[str, Array] = {
    "w": W,
    "a": AMOUNTS,
    "zero": np.array(0, np.float32),
    "one": np.array(1, np.float32),
    "inf": np.array(-np.inf, np.float32),
    "low": np.array(-1, np.float32),
}
NONE: Mapping[str, Array] = {}


def net(
    lines: str, outputs: str = "float[A, C, H, V] y", opset: int = 17, changes: Mapping[str, Array] = NONE
) -> ir.Model:
    arrays = {**NUMBERS, **changes}
    used = {n: a for n, a in arrays.items() if any(f", {n}{end}" in lines for end in (",", ")"))}
    return model(f"g (float[N, 3, H, V] x) => ({outputs}) {{ {lines} }}", opset, **used)


def fold(found: ir.Model) -> PassResult:
    result = FoldPad()(found)
    assert result.modified == bool(result.counts)
    check(found)
    assert not FoldPad()(found).modified
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


PADS = {
    "default value": ("p = Pad(x, a)", 17),
    "zero": ("p = Pad(x, a, zero)", 13),
    "mode": ('p = Pad<mode = "constant">(x, a, zero)', 11),
    "axes": ("p = Pad(x, inner, zero, axes)", 18),
    "axes, no value": ("p = Pad(x, inner, , axes)", 21),
    "negative axes": ("p = Pad(x, inner, zero, last)", 19),
    "attributes": ("p = Pad<pads = [0, 0, 1, 0, 0, 0, 2, 1]>(x)", 10),
    "attributes, value": ('p = Pad<mode = "constant", pads = [0, 0, 1, 0, 0, 0, 2, 1], value = 0.0>(x)', 7),
}
AXES = {"inner": np.array([0, 1, 1, 2]), "axes": np.array([3, 2]), "last": np.array([-1, -2])}
READERS = {
    "Conv": "y = Conv(p, w)",
    "Conv, padded, strides": "y = Conv<pads = [1, 1, 1, 1], strides = [2, 2], dilations = [1, 2]>(p, w)",
    "Conv, valid": 'y = Conv<auto_pad = "VALID">(p, w)',
    "Conv, same": 'y = Conv<auto_pad = "SAME_UPPER">(p, w)',
    "AveragePool": "y = AveragePool<kernel_shape = [3, 3], strides = [2, 1]>(p)",
    "AveragePool, counting": "y = AveragePool<kernel_shape = [4, 3], pads = [1, 0, 1, 1], count_include_pad = 1>(p)",
    "AveragePool, same": 'y = AveragePool<kernel_shape = [4, 3], auto_pad = "SAME_LOWER", count_include_pad = 1>(p)',
    "MaxPool": "y = MaxPool<kernel_shape = [4, 3], strides = [2, 2]>(p)",
    "MaxPool, padded": "y = MaxPool<kernel_shape = [5, 3], pads = [1, 1, 0, 0]>(p)",
}


@pytest.mark.parametrize(("pad", "opset"), PADS.values(), ids=PADS.keys())
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_every_form(pad: str, opset: int, reader: str) -> None:
    found = net(f"r = Relu(x) {pad.replace('(x', '(r')} {reader}", opset=opset, changes=AXES)
    wanted = run(found, {"x": X})
    result = fold(found)
    assert result.counts == {"folded": 1}, result.skips
    assert op_types(found) == ["Relu", reader[4:].partition("(")[0].partition("<")[0]]
    assert set(found.graph.initializers) <= {"w"}
    assert_close(wanted, run(found, {"x": X}))


@pytest.mark.parametrize(
    "before",
    [
        "r = Sigmoid(x)",
        "r = HardSigmoid(x)",
        "r = Softplus(x)",
        "r = Exp(x)",
        "r = Abs(x)",
        "r = Clip(x, zero, one)",
        "r = Clip(x, one)",
    ],
)
def test_zeros_before_a_maximum_of_what_is_not_negative(before: str) -> None:
    found = net(f"{before} p = Pad(r, a, zero) y = MaxPool<kernel_shape = [4, 3]>(p)")
    wanted = run(found, {"x": X})
    assert fold(found).modified
    assert_close(wanted, run(found, {"x": X}))


def test_clip_with_attributes() -> None:
    lines = "r = Clip<min = {}>(x) p = Pad<pads = [0, 0, 1, 1, 0, 0, 0, 0]>(r) y = MaxPool<kernel_shape = [3, 3]>(p)"
    assert fold(net(lines.format("0.0"), opset=10)).modified
    assert not fold(net(lines.format("-0.5"), opset=10)).modified


def test_a_border_of_minus_infinity_before_a_maximum() -> None:
    found = net("p = Pad(x, a, inf) y = MaxPool<kernel_shape = [4, 3]>(p)")
    wanted = run(found, {"x": X})
    assert fold(found).modified
    assert_close(wanted, run(found, {"x": X}))


EXCEED = "the border may exceed what is in a window"
FILLS = "the padding would fill a window"
NEAR = {
    "value before Conv": ("p = Pad(x, a, one) y = Conv(p, w)", "the border is not 0"),
    "value before AveragePool": ("p = Pad(x, a, one) y = AveragePool<kernel_shape = [3, 3]>(p)", "the border is not 0"),
    "zero before MaxPool": ("p = Pad(x, a) y = MaxPool<kernel_shape = [4, 4]>(p)", EXCEED),
    "one before MaxPool": ("r = Relu(x) p = Pad(r, a, one) y = MaxPool<kernel_shape = [4, 4]>(p)", EXCEED),
    "clip below zero": ("r = Clip(x, low, one) p = Pad(r, a) y = MaxPool<kernel_shape = [4, 4]>(p)", EXCEED),
    "clip without bound": ("r = Clip(x, , one) p = Pad(r, a) y = MaxPool<kernel_shape = [4, 4]>(p)", EXCEED),
    "low border": ("p = Pad(x, a, low) y = MaxPool<kernel_shape = [4, 4]>(p)", EXCEED),
    "ceil_mode": ("p = Pad(x, a, inf) y = MaxPool<kernel_shape = [4, 4], ceil_mode = 1>(p)", "ceil_mode"),
    "ceil_mode, average": ("p = Pad(x, a) y = AveragePool<kernel_shape = [4, 4], ceil_mode = 1>(p)", "ceil_mode"),
    "padding that is not counted": (
        "p = Pad(x, a) y = AveragePool<kernel_shape = [4, 4], pads = [1, 0, 0, 0]>(p)",
        "the average counts the border, but not padding of its own",
    ),
    "window full of padding": ("p = Pad(x, a) y = AveragePool<kernel_shape = [2, 2]>(p)", FILLS),
    "window full of infinity": ("p = Pad(x, a, inf) y = MaxPool<kernel_shape = [3, 3]>(p)", FILLS),
    "dilated maximum": (
        "p = Pad(x, a, inf) y = MaxPool<kernel_shape = [4, 4], dilations = [2, 1]>(p)",
        "a dilated window may lie between the elements",
    ),
    "edge": ('p = Pad<mode = "edge">(x, a) y = Conv(p, w)', "the mode is not constant"),
    "crop": ("p = Pad(x, crop) y = Conv(p, w)", "it crops"),
    "channels": ("p = Pad(x, deep) y = Conv(p, v)", "it pads the batch or the channels"),
    "same with a stride": (
        'p = Pad(x, a) y = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(p, w)',
        "auto_pad depends on the size of the input",
    ),
    "computed amounts": ("b = Max(a, a) p = Pad(x, b) y = Conv(p, w)", "the amounts are not constant"),
    "computed value": ("z = Max(zero, zero) p = Pad(x, a, z) y = Conv(p, w)", "the value is not constant"),
}
ODD = {"crop": np.array([0, 0, 1, 1, 0, 0, -1, 0]), "deep": np.array([0, 0, 0, 0, 0, 1, 0, 0]), "v": random(4, 4, 3, 3)}


@pytest.mark.parametrize(("lines", "reason"), NEAR.values(), ids=NEAR.keys())
def test_near_misses(lines: str, reason: str) -> None:
    result = fold(net(lines, changes=ODD))
    assert not result.modified
    assert reasons(result) == {reason}


def test_indices_of_a_maximum() -> None:
    lines = "p = Pad(x, a, inf) y, i = MaxPool<kernel_shape = [4, 4]>(p)"
    result = fold(net(lines, "float[A, C, H, V] y, int64[A, C, H, V] i"))
    assert reasons(result) == {"indices would count from another corner"}


def test_an_average_that_cannot_count_its_padding() -> None:
    lines = "p = Pad<pads = [0, 0, 1, 1, 0, 0, 0, 0]>(x) y = AveragePool<kernel_shape = [3, 3]>(p)"
    assert reasons(fold(net(lines, opset=6))) == {"opset below 7"}


def test_a_padded_tensor_that_is_a_graph_output() -> None:
    result = fold(net("p = Pad(x, a) y = Conv(p, w)", "float[A, C, H, V] y, float[A, D, E, F] p"))
    assert reasons(result) == {"an intermediate value is a graph output"}


def test_several_readers_all_fold_or_none() -> None:
    branches = "c = Conv(p, w) d = Conv<pads = [1, 1, 1, 1]>(p, w) m = AveragePool<kernel_shape = [3, 3]>(p)"
    outputs = "float[A, C, H, V] c, float[A, C, I, J] d, float[A, 3, H, V] {}"
    found = net(f"p = Pad(x, a) {branches}", outputs.format("m"))
    wanted = run(found, {"x": X})
    assert fold(found).counts == {"folded": 1}
    assert op_types(found) == ["Conv", "Conv", "AveragePool"]
    assert_close(wanted, run(found, {"x": X}))
    for other in ("q = Relu(p)", "q = MaxPool<kernel_shape = [3, 3]>(p)"):
        found = net(f"p = Pad(x, a) {branches} {other}", outputs.format("q"))
        assert not fold(found).modified
        assert all(list(n.attributes.get_ints("pads", [0])) in ([0], [1, 1, 1, 1]) for n in found.graph)


def test_a_pad_behind_another_folds_first() -> None:
    found = net("p = Pad(x, a) q = Pad(p, a) y = Conv(q, w) z = Conv(p, w)", "float[N, 4, H, V] y, float[N, 4, I, U] z")
    wanted = run(found, {"x": X})
    assert fold(found).counts == {"folded": 2}
    assert op_types(found) == ["Conv", "Conv"]
    assert_close(wanted, run(found, {"x": X}))


def test_amounts_that_another_pad_shares() -> None:
    found = net("p = Pad(x, a) c = Conv(p, w) r = Relu(c) y = Pad(r, a)")
    wanted = run(found, {"x": X})
    assert fold(found).counts == {"folded": 1}
    assert set(found.graph.initializers) == {"w", "a"}
    assert_close(wanted, run(found, {"x": X}))


def test_a_reader_in_a_subgraph() -> None:
    graph = """g (bool q, float[1, 3, 9, 8] x) => (float[1, 4, H, V] y) {
        p = Pad(x, a)
        y = If (q) <
            then_branch = t () => (float[1, 4, 10, 7] u) { u = Conv(p, w) },
            else_branch = f () => (float[1, 4, 10, 7] v) { n = Neg(x) k = Pad(n, a) v = Conv(k, w) }
        >
    }"""
    found = model(graph, a=AMOUNTS, w=W)
    for q in (True, False):
        feeds = {"q": np.array(q), "x": X[:1]}
        before = model(graph, a=AMOUNTS, w=W)
        wanted = run(before, feeds)
        fold(found)
        assert sorted(n.op_type for n in nodes(found)) == ["Conv", "Conv", "If", "Neg"]
        assert_close(wanted, run(found, feeds))


def test_float16() -> None:
    graph = "g (float16[2, 3, 9, 8] x) => (float16[2, 4, 10, 7] y) { p = Pad(x, a) y = Conv(p, w) }"
    found = model(graph, a=AMOUNTS, w=W.astype(np.float16))
    wanted = run(found, {"x": X.astype(np.float16)})
    assert fold(found).modified
    assert_close(wanted, run(found, {"x": X.astype(np.float16)}))


def test_float64_maximum() -> None:
    graph = (
        "g (double[2, 3, 9, 8] x) => (double[A, B, C, D] y) { p = Pad(x, a, i) y = MaxPool<kernel_shape = [4, 4]>(p) }"
    )
    found = model(graph, a=AMOUNTS, i=np.array(-np.inf))
    wanted = run(found, {"x": X.astype(np.float64)})
    assert fold(found).modified
    assert_close(wanted, run(found, {"x": X.astype(np.float64)}))


def test_one_spatial_axis_and_computed_weights() -> None:
    graph = """g (float[2, 3, 9] x, float[4, 3, 3] w) => (float[2, 4, 8] y) {
        p = Pad(x, a) y = Conv<kernel_shape = [3]>(p, w)
    }"""
    found = model(graph, a=np.array([0, 0, 1, 0, 0, 0]))
    feeds = {"x": random(2, 3, 9), "w": random(4, 3, 3)}
    wanted = run(found, feeds)
    assert fold(found).modified
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize(("width", "reason"), [(6, set()), (5, {"the border is wide"})])
def test_a_border_of_more_than_a_third_stays(width: int, reason: set[str]) -> None:
    text = f"g (float[N, 3, 9, {width}] x) => (float[A, C, H, V] y) {{ p = Pad(x, a) y = Conv(p, w) }}"
    amounts = np.array([0, 0, 0, 1, 0, 0, 0, 1], np.int64)
    result = fold(model(text, a=amounts, w=random(4, 3, 3, 3)))
    assert result.modified == (not reason)
    assert reasons(result) == reason
