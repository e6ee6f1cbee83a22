from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.fusion.merge_consecutive_convs import MergeConsecutiveConvs
from tests.models import Array, assert_close, check, elements, model, nodes, op_types, random, run

X = random(2, 3, 9, 8, seed=1)
B = random(8, seed=2)
POINT = 0.3 * random(8, 3, 1, 1, seed=3)
KERNEL = 0.3 * random(8, 3, 3, 3, seed=4)
BACK = 0.3 * random(4, 8, 1, 1, seed=5)
WIDE = 0.3 * random(4, 8, 3, 3, seed=6)
WEIGHTS = {"b": B, "p": POINT, "k": KERNEL, "q": BACK, "w": WIDE}
NONE: Mapping[str, Array] = {}


def net(
    lines: str, outputs: str = "float[A, C, H, V] y", opset: int = 17, changes: Mapping[str, Array] = NONE
) -> ir.Model:
    arrays = {**WEIGHTS, **changes}
    used = {n: a for n, a in arrays.items() if any(f", {n}{end}" in lines for end in (",", ")"))}
    return model(f"g (float[N, 3, 9, 8] x) => ({outputs}) {{ {lines} }}", opset, **used)


def merge(found: ir.Model) -> PassResult:
    result = MergeConsecutiveConvs()(found)
    assert result.modified == bool(result.counts)
    check(found)
    second = MergeConsecutiveConvs()(found)
    assert not second.modified, second.counts
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


PAIRS = {
    "1x1 second": "t = Conv<pads = [1, 1, 1, 1]>(x, k, b) y = Conv(t, q)",
    "1x1 second with a stride": "t = Conv<pads = [1, 1, 1, 1]>(x, k, b) y = Conv<strides = [2, 2]>(t, q, c)",
    "1x1 first, padding behind": "t = Conv(x, p) y = Conv<pads = [1, 0, 1, 2]>(t, w, c)",
    "1x1 first, bias, no padding": "t = Conv(x, p, b) y = Conv(t, w, c)",
    "1x1 first with a stride": "t = Conv<strides = [2, 1]>(x, p) y = Conv<pads = [1, 1, 1, 1], strides = [1, 2]>(t, w)",
    "1x1 first, dilation behind": "t = Conv(x, p) y = Conv<dilations = [2, 1], pads = [2, 1, 2, 1]>(t, w)",
    "both 1x1": "t = Conv(x, p, b) y = Conv(t, q, c)",
    "same padding": 't = Conv<auto_pad = "SAME_LOWER">(x, k, b) y = Conv(t, q)',
    "two kernels, no padding": "t = Conv(x, k, b) y = Conv(t, w)",
    "two kernels, padding first": "t = Conv<pads = [2, 1, 2, 1]>(x, k, b) y = Conv(t, w, c)",
    "crossed": "t = Conv<pads = [1, 0, 1, 0]>(x, tall) y = Conv<pads = [0, 1, 0, 1]>(t, broad)",
}
MORE = {"c": random(4, seed=7), "tall": 0.3 * random(8, 3, 3, 1), "broad": 0.3 * random(2, 8, 1, 3)}


@pytest.mark.parametrize("lines", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("shapes", [True, False], ids=["known shapes", "unknown shapes"])
def test_every_pair(lines: str, shapes: bool) -> None:
    found = net(lines, changes=MORE)
    if shapes:
        infer_shapes(found)
    wanted = run(found, {"x": X})
    result = merge(found)
    assert result.counts == {"merged": 1}, result.skips
    assert op_types(found) == ["Conv"]
    assert_close(wanted, run(found, {"x": X}))


PRODUCTS = {
    "MatMul": ("t = MatMul(x, u) y = MatMul(t, v)", "MatMul"),
    "Gemm": ("t = Gemm(x, u, d) y = Gemm(t, v, e)", "Gemm"),
    "Gemm, scaled": ("t = Gemm<alpha = 0.5, beta = 2.0>(x, u, d) y = Gemm<alpha = 3.0, beta = 0.25>(t, v, e)", "Gemm"),
    "Gemm, transposed": ("t = Gemm<transB = 1>(x, ut, d) y = Gemm<transB = 1>(t, vt)", "Gemm"),
    "Gemm, transposed input": ("z = Transpose(x) t = Gemm<transA = 1>(z, u, d) y = Gemm(t, v)", "Gemm"),
    "Gemm and MatMul": ("t = Gemm(x, u, d) y = MatMul(t, v)", "Gemm"),
    "MatMul and Gemm": ("t = MatMul(x, u) y = Gemm(t, v, e)", "Gemm"),
}
U, V = random(3, 8, seed=8), random(8, 4, seed=9)
MATRICES = {"u": U, "v": V, "ut": U.T.copy(), "vt": V.T.copy(), "d": B, "e": random(4)}


def matrices(
    lines: str, shape: str = "N, 3", opset: int = 17, dtype: str = "float", changes: Mapping[str, Array] = NONE
) -> ir.Model:
    numpy = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    arrays = {**MATRICES, **changes}
    used = {n: a.astype(numpy) for n, a in arrays.items() if any(f", {n}{end}" in lines for end in (",", ")"))}
    outputs = ", ".join("ABCDE"[: shape.count(",") + 1])
    return model(f"g ({dtype}[{shape}] x) => ({dtype}[{outputs}] y) {{ {lines} }}", opset, **used)


@pytest.mark.parametrize(("lines", "op_type"), PRODUCTS.values(), ids=PRODUCTS.keys())
@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_every_product(lines: str, op_type: str, opset: int, dtype: str) -> None:
    if opset < 11:  # Gemm must have a bias
        lines = lines.replace("vt)", "vt, e)").replace("Gemm(t, v)", "Gemm(t, v, e)")
    found = matrices(lines, opset=opset, dtype=dtype)
    feeds = {"x": random(5, 3).astype(np.float64 if dtype == "double" else np.float32)}
    wanted = run(found, feeds)
    assert merge(found).counts == {"merged": 1}
    assert op_types(found)[-1] == op_type and "MatMul" not in op_types(found)[:-1]
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize(("shape", "x"), [("2, N, 3", random(2, 5, 3)), ("3", random(3))])
def test_matmul_of_any_rank(shape: str, x: Array) -> None:
    found = matrices("t = MatMul(x, u) y = MatMul(t, v)", shape)
    wanted = run(found, {"x": x})
    assert merge(found).modified
    assert_close(wanted, run(found, {"x": x}))


def test_float16() -> None:
    found = matrices("t = MatMul(x, u) y = MatMul(t, v)", dtype="float16")
    x = {"x": random(5, 3).astype(np.float16)}
    wanted = run(found, x)
    assert merge(found).modified
    np.testing.assert_allclose(run(found, x)[0], wanted[0], rtol=1e-2, atol=2e-2)


def test_weights_too_small_for_their_type() -> None:
    found = matrices("t = MatMul(x, u) y = MatMul(t, v)", dtype="float16", changes={"u": U * 1e-4, "v": V * 1e-4})
    assert reasons(merge(found)) == {"merged weights are too small for their type"}


def test_weights_too_large_for_their_type() -> None:
    found = matrices("t = MatMul(x, u) y = MatMul(t, v)", changes={"u": U * 1e30, "v": V * 1e30})
    assert reasons(merge(found)) == {"merged weights are not finite"}


def test_a_bottleneck_of_matrices_stays() -> None:
    found = matrices("t = MatMul(x, u) y = MatMul(t, v)", changes={"u": random(3, 1), "v": random(1, 4)})
    assert reasons(merge(found)) == {"one product multiplies no less than two"}


NEAR = {
    "bias before padding": (
        "t = Conv(x, p, b) y = Conv<pads = [1, 1, 1, 1]>(t, w)",
        "a bias before padding",
    ),
    "kernel before padding": (
        "t = Conv<pads = [1, 1, 1, 1]>(x, k) y = Conv<pads = [1, 1, 1, 1]>(t, w)",
        "a kernel before padding",
    ),
    "padding before padding": (
        "t = Conv<pads = [1, 0, 0, 0]>(x, p) y = Conv<pads = [1, 1, 1, 1]>(t, w)",
        "a kernel before padding",
    ),
    "padded 1x1": (
        "t = Conv<pads = [1, 1, 1, 1]>(x, k) y = Conv<pads = [1, 1, 1, 1]>(t, q)",
        "a kernel before padding",
    ),
    "depthwise, then 1x1": (
        "t = Conv<group = 3>(x, deep) y = Conv(t, flat)",
        "one convolution multiplies no less than two",
    ),
    "bottleneck": (
        "t = Conv(x, narrow) y = Conv(t, out)",
        "one convolution multiplies no less than two",
    ),
    "more outputs than inputs": (
        "t = Conv(x, p) y = Conv<pads = [2, 2, 2, 2]>(t, w)",
        "the sizes, by which multiplications are counted, are not known",
    ),
    "same padding with a stride": (
        't = Conv(x, p) y = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(t, w)',
        "auto_pad depends on the size of the input",
    ),
    "computed weights": ("r = Max(p, p) t = Conv(x, r) y = Conv(t, q)", "weight is not constant"),
}
ODD = {
    "deep": random(3, 1, 3, 3),
    "flat": random(8, 3, 1, 1),
    "narrow": random(1, 3, 3, 3),
    "out": random(8, 1, 1, 1),
}


@pytest.mark.parametrize(("lines", "reason"), NEAR.values(), ids=NEAR.keys())
def test_near_misses(lines: str, reason: str) -> None:
    result = merge(net(lines, changes=ODD))
    assert not result.modified
    assert reasons(result) == {reason}


def test_known_shapes_decide_what_unknown_ones_cannot() -> None:
    found = net("t = Conv(x, p) y = Conv<pads = [2, 2, 2, 2]>(t, w)")
    infer_shapes(found)
    wanted = run(found, {"x": X})
    assert merge(found).modified
    assert_close(wanted, run(found, {"x": X}))


def test_a_value_in_between_that_is_read_elsewhere() -> None:
    found = net(f"{PAIRS['both 1x1']} z = Relu(t)", "float[A, C, H, V] y, float[A, D, H, V] z", changes=MORE)
    assert reasons(merge(found)) == {"something else reads an intermediate value"}


def test_a_value_in_between_that_is_a_graph_output() -> None:
    found = net(PAIRS["both 1x1"], "float[A, C, H, V] y, float[A, D, H, V] t", changes=MORE)
    assert reasons(merge(found)) == {"an intermediate value is a graph output"}


def test_a_shared_initializer_stays_for_its_other_reader() -> None:
    found = net(
        "t = Conv(x, p) s = Conv(t, q) r = Relu(s) u = Conv(r, f) z = Relu(u) y = Conv(z, q)",
        changes={"f": random(8, 4, 1, 1)},
    )
    wanted = run(found, {"x": X})
    assert merge(found).modified
    assert (elements(found, "q") == BACK).all()
    assert_close(wanted, run(found, {"x": X}))


def test_a_chain_becomes_one() -> None:
    found = net(
        "t = Conv(x, p) u = Conv(t, q) v = Conv(u, f) y = Conv(v, q, c)", changes={"f": random(8, 4, 1, 1), **MORE}
    )
    wanted = run(found, {"x": X})
    assert merge(found).counts == {"merged": 3}
    assert op_types(found) == ["Conv"]
    assert_close(wanted, run(found, {"x": X}))


def test_a_pair_pays_once_its_second_has_grown() -> None:
    """The first two alone would multiply more; the last two merge, and then the first does."""
    arrays = {"one": random(4, 3, 1, 1), "two": random(64, 4, 1, 1), "three": random(2, 64, 1, 1)}
    found = net("t = Conv(x, one) u = Conv(t, two) y = Conv(u, three)", changes=arrays)
    wanted = run(found, {"x": X})
    assert merge(found).counts == {"merged": 2}
    assert_close(wanted, run(found, {"x": X}))


def test_an_old_opset_is_left_alone() -> None:
    assert reasons(merge(net(PAIRS["two kernels, no padding"], opset=8))) == {"opset below 9"}


def test_inside_a_subgraph_with_an_input_from_outside() -> None:
    graph = """g (bool i, float[1, 3, 9, 8] x) => (float[1, C, 9, 8] y) {
        y = If (i) <
            then_branch = t () => (float[1, 4, 9, 8] s) { t = Conv(x, p, b) s = Conv(t, q) },
            else_branch = f () => (float[1, 3, 9, 8] r) { r = Relu(x) }
        >
    }"""
    found = model(graph, p=POINT, b=B, q=BACK)
    feeds = {"i": np.array(True), "x": X[:1]}
    wanted = run(found, feeds)
    assert merge(found).modified
    assert sum(node.op_type == "Conv" for node in nodes(found)) == 1
    assert_close(wanted, run(found, feeds))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_random_pairs(data: st.DataObject) -> None:
    """Groups, strides, dilations and padding of every kind: merged or not, the result is the same."""
    draw = data.draw
    lines, arrays, source, channels = [], {}, "x", 4
    middle = draw(st.sampled_from([8, 16]))
    for i, outputs in enumerate((middle, 4)):
        group = draw(st.sampled_from([1, 2, 4]))
        kernel = draw(st.sampled_from([[1, 1], [1, 2], [3, 1], [2, 2]]))
        strides, dilations = (draw(st.lists(st.integers(1, 2), min_size=2, max_size=2)) for _ in range(2))
        pads = draw(st.lists(st.integers(0, 1), min_size=4, max_size=4)) if draw(st.booleans()) else [0] * 4
        arrays[f"w{i}"] = 0.3 * random(outputs, channels // group, *kernel, seed=i)
        bias = f", b{i}" if draw(st.booleans()) else ""
        if bias:
            arrays[f"b{i}"] = random(outputs, seed=i + 5)
        attributes = f"group = {group}, strides = {strides}, dilations = {dilations}, pads = {pads}"
        result = "ty"[i]
        lines.append(f"{result} = Conv<{attributes}>({source}, w{i}{bias})")
        source, channels = result, outputs
    graph = f"g (float[N, 4, 16, 15] x) => (float[N, 4, H, V] y) {{ {' '.join(lines)} }}"
    found = model(graph, **arrays)
    if draw(st.booleans()):
        infer_shapes(found)
    feeds = {"x": random(2, 4, 16, 15)}
    wanted = run(found, feeds)
    merge(found)
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize(("first", "second", "left"), [(2, 2, 2), (6, 2, 2), (2, 6, 2), (6, 3, 3), (2, 3, 1)])
def test_groups(first: int, second: int, left: int) -> None:
    arrays = {"a": random(96, 12 // first, 1, 1), "z": 0.3 * random(6, 96 // second, 1, 1)}
    lines = f"r = Concat<axis = 1>(x, x, x, x) t = Conv<group = {first}>(r, a) y = Conv<group = {second}>(t, z)"
    found = net(lines, changes=arrays)
    wanted = run(found, {"x": X})
    assert merge(found).modified
    assert [n.attributes.get_int("group") for n in found.graph if n.op_type == "Conv"] == [left]
    assert_close(wanted, run(found, {"x": X}))
