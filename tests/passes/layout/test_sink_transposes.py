from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.layout.sink_transposes import SinkTransposes
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run, same_bits

IN, OUT = "Transpose<perm=[0,2,3,1]>", "Transpose<perm=[0,3,1,2]>"
"""Channels from axis 1 to the last, and back."""


def sink(found: ir.Model) -> PassResult:
    result = SinkTransposes()(found)
    check(found)
    again = SinkTransposes()(found)
    assert not again.modified and not again.counts
    return result


def transposes(found: ir.Model) -> int:
    return sum(node.op_type == "Transpose" for node in nodes(found))


def inferred(text: str, opset: int = 17, /, **weights: Array) -> ir.Model:
    """A model with the shapes that ONNX infers, as after canonicalize."""
    from tamis.passes.canonicalize.infer_shapes import infer_shapes

    found = model(text, opset, **weights)
    infer_shapes(found)
    return found


BITS = {
    "Relu": ("z = Relu(t)", {}),
    "several": ("a = Relu(t) b = Sigmoid(a) z = Mul(a, b)", {}),
    "Clip": ("z = Clip(t, c)", {"c": np.array(-0.5, np.float32)}),
    "Cast": ("a = Cast<to=11>(t) z = Cast<to=1>(a)", {}),
    "per channel": ("z = Add(t, c)", {"c": random(3)}),
    "constant first": ("z = Sub(c, t)", {"c": random(1, 1, 3)}),
    "per row": ("z = Mul(t, c)", {"c": random(4, 1, 1)}),
    "full constant": ("z = Mul(t, c)", {"c": random(4, 5, 3)}),
    "scalar": ("z = Mul(t, c)", {"c": np.array([[2]], np.float32)}),
    "PRelu": ("z = PRelu(t, c)", {"c": random(1, 1, 3)}),
    "Where": ("b = Greater(t, c) z = Where(b, t, c)", {"c": random(5, 3)}),
    "Sum": ("z = Sum(t, c, t)", {"c": random(3)}),
    "Pad": ("z = Pad(t, p)", {"p": np.array([0, 1, 2, 3, 0, 4, 5, 6])}),
    "Pad reflected": ("z = Pad<mode=\"reflect\">(t, p)", {"p": np.array([0, 1, 2, 0, 0, 1, 1, 0])}),
    "Concat": ("a = Relu(t) z = Concat<axis=-1>(t, a, c)", {"c": random(2, 4, 5, 2)}),
    "Split": ("a, b = Split<axis=1>(t) z = Max(a, b)", {}),
    "Slice": (
        "z = Slice(t, s, e, a, p)",
        {"s": np.array([1, 0]), "e": np.array([9, 2]), "a": np.array([-3, 3]), "p": np.array([2, 1])},
    ),
    "Slice of the first axes": ("z = Slice(t, s, e)", {"s": np.array([0, 1]), "e": np.array([9, 3])}),
    "Gather": ("z = Gather<axis=-2>(t, i)", {"i": np.array([2, 0])}),
    "Tile": ("z = Tile(t, r)", {"r": np.array([1, 2, 1, 3])}),
    "Expand": ("a = ReduceMax<axes=[2]>(t) z = Expand(a, r)", {"r": np.array([1, 7, 3])}),
    "ReduceMax": ("z = ReduceMax<axes=[1, -2]>(t)", {}),
    "ArgMax": ("a = ArgMax<axis=-1>(t) z = Cast<to=1>(a)", {}),
    "Hardmax": ("z = Hardmax(t)", {}),
    "Unsqueeze": ("a = Unsqueeze(t, u) b = Relu(a) z = Squeeze(b, u)", {"u": np.array([2])}),
    "Reshape": ("a = Reshape(t, u) b = Neg(a) z = Reshape(b, v)", {"u": np.array([0, 4, 1, 5, -1]), "v": np.array([2, 4, 5, 3])}),
    "quantized": (
        "q = QuantizeLinear<axis=3>(t, s, o) z = DequantizeLinear<axis=-1>(q, s, o)",
        {"s": np.array([0.1, 0.2, 0.3], np.float32), "o": np.array([0, 3, 7], np.uint8)},
    ),
    "quantized as a whole": (
        "q = QuantizeLinear(t, s, o) z = DequantizeLinear(q, s, o)",
        {"s": np.array(0.1, np.float32), "o": np.array(3, np.int8)},
    ),
    "Resize": (
        'z = Resize<mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric">(t, , s)',
        {"s": np.array([1, 2, 3, 1], np.float32)},
    ),
}  # fmt: skip
"""What stands between two Transposes of (2, 3, 4, 5): x -> t, z -> y. Results are the same bit for bit."""

CLOSE = {
    "ReduceMean": ("z = ReduceMean<axes=[1, 2]>(t)", {}),
    "ReduceSum": ("z = ReduceSum(t, a)", {"a": np.array([-1, 1])}),
    "ReduceL2": ("z = ReduceL2<axes=[3]>(t)", {}),
    "Softmax": ("z = Softmax(t)", {}),
    "LogSoftmax": ("z = LogSoftmax<axis=1>(t)", {}),
    "Resize linear": ('z = Resize<mode="linear">(t, , s)', {"s": np.array([1, 2, 1.5, 1], np.float32)}),
    "LpNormalization": ("z = LpNormalization<axis=2>(t)", {}),
}


def between(lines: str, opset: int = 17, batch: str = "2", **weights: Array) -> ir.Model:
    text = f"g (float[{batch},3,4,5] x) => (float[{batch},A,B,C] y) {{ t = {IN}(x) {lines} y = {OUT}(z) }}"
    return inferred(text, opset, **weights)


@pytest.mark.parametrize("batch", ["2", "N"])
@pytest.mark.parametrize(("lines", "weights"), BITS.values(), ids=BITS.keys())
def test_what_commutes_keeps_its_bits(lines: str, weights: dict[str, Array], batch: str) -> None:
    found = between(lines, 17, batch, **weights)
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 2
    assert transposes(found) == 0
    assert same_bits(wanted, run(found, feeds))
    assert all(v.uses() for v in found.graph.initializers.values())


@pytest.mark.parametrize(("lines", "weights"), CLOSE.values(), ids=CLOSE.keys())
def test_what_adds_in_another_order_is_close(lines: str, weights: dict[str, Array]) -> None:
    found = between(lines, 17, "N", **weights)
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 2
    assert transposes(found) == 0
    assert_close(wanted, run(found, feeds))


OLD = {
    "attributes of Slice": ("z = Slice<axes=[3, 1], starts=[1, 0], ends=[3, 2]>(t)", 9, {}),
    "attributes of Slice, no axes": ("z = Slice<starts=[0, 1], ends=[2, 3]>(t)", 9, {}),
    "attributes of Pad": ("z = Pad<pads=[0, 1, 2, 3, 0, 4, 5, 6]>(t)", 9, {}),
    "attribute of Unsqueeze": ("a = Unsqueeze<axes=[0]>(t) z = Squeeze<axes=[0]>(a)", 11, {}),
    "Squeeze of what is 1": ("a = Unsqueeze<axes=[3]>(t) z = Squeeze(a)", 11, {}),
    "attribute of ReduceSum": ("z = ReduceSum<axes=[2]>(t)", 11, {}),
    "Upsample": ('z = Upsample<mode="nearest">(t, s)', 9, {"s": np.array([1, 2, 3, 1], np.float32)}),
    "Resize 10": ('z = Resize<mode="nearest">(t, s)', 10, {"s": np.array([1, 2, 3, 1], np.float32)}),
    "input of ReduceMean": ("z = ReduceMean(t, a)", 18, {"a": np.array([1, 2])}),
    "named axes of Pad": ("z = Pad(t, p, , a)", 18, {"p": np.array([1, 0, 2, 3]), "a": np.array([1, -1])}),
    "named axes of Resize": (
        'z = Resize<axes=[1, 2], mode="nearest">(t, , s)', 18, {"s": np.array([2, 2], np.float32)}
    ),
    "Split 18": ("a, b = Split<axis=2, num_outputs=2>(t) z = Concat<axis=2>(b, a)", 18, {}),
    "sizes of Resize": ('z = Resize<mode="nearest">(t, , , s)', 13, {"s": np.array([2, 8, 7, 3])}),
    "all axes": ("a = ReduceMax<keepdims=1>(t) z = Add(t, a)", 17, {}),
    "no axes on purpose": ("z = ReduceSum<noop_with_empty_axes=1>(t)", 17, {}),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "opset", "weights"), OLD.values(), ids=OLD.keys())
def test_spellings_of_other_opsets(lines: str, opset: int, weights: dict[str, Array]) -> None:
    found = between(lines, opset, "2", **weights)
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 2
    assert transposes(found) == 0
    assert_close(wanted, run(found, feeds))


def test_dropped_axes_leave_an_order_of_the_others() -> None:
    text = f"""g (float[N,3,4,5] x) => (float[N,5,3] y, float[N] m, float[N,5,4] k, int64[N,3,5] i) {{
        t = {IN}(x) r = Relu(t)
        a = ReduceMax<axes=[1], keepdims=0>(r) y = Abs(a)
        m = ReduceMax<axes=[1, 2, 3], keepdims=0>(t)
        g = Gather<axis=3>(r, one) k = Transpose<perm=[0,2,1]>(g)
        b = ArgMax<axis=1, keepdims=0>(t) i = Transpose<perm=[0,2,1]>(b)
    }}"""
    found = inferred(text, one=np.array(1))
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    result = sink(found)
    assert result.counts["Transposes removed"] == 1
    assert same_bits(wanted, run(found, feeds))


@pytest.mark.parametrize(("dtype", "numpy"), [("float16", np.float16), ("double", np.float64), ("int32", np.int32)])
def test_other_element_types(dtype: str, numpy: Any) -> None:
    text = f"g ({dtype}[N,3,4,5] x) => ({dtype}[N,3,4,5] y) {{ t = {IN}(x) z = Mul(t, c) y = {OUT}(z) }}"
    found = inferred(text, c=(random(3) * 4).astype(numpy))
    feeds = {"x": (random(2, 3, 4, 5) * 9).astype(numpy)}
    wanted = run(found, feeds)
    assert sink(found).modified and transposes(found) == 0
    assert same_bits(wanted, run(found, feeds))


REFUSED = {
    "Softmax: Softmax below opset 13 over several axes": ("z = Softmax<axis=2>(t)", 12, {}),
    "Pad: the amounts are not constant": ("p = Cast<to=7>(k) z = Pad(t, p)", 17, {"k": np.zeros(8, np.int32)}),
    "stops at CumSum": ("z = CumSum(t, k)", 17, {"k": np.array(1)}),
    "Resize: the resized axes do not become the last two": (
        'z = Resize<mode="nearest">(t, , s)', 17, {"s": np.array([1, 1, 1, 2], np.float32)}
    ),
    "Reshape: a Reshape that changes more than axes of size 1": ("z = Reshape(t, s)", 17, {"s": np.array([2, 5, 4, 3])}),
}  # fmt: skip


@pytest.mark.parametrize(("reason", "case"), REFUSED.items(), ids=REFUSED.keys())
def test_near_misses_have_reasons(reason: str, case: tuple[str, int, dict[str, Array]]) -> None:
    lines, opset, weights = case
    result = sink(between(lines, opset, "2", **weights))
    assert not result.modified
    assert reason in [skip.reason for skip in result.skips]


def test_a_size_of_an_unknown_axis_may_resize_it() -> None:
    found = between('z = Resize<mode="nearest">(t, , , s)', 17, "N", s=np.array([2, 8, 7, 3]))
    assert not sink(found).modified


@pytest.mark.parametrize("sizes", [[0, 0, -1, 3], [20, -1], [-1, 4, 3, 5], [0, 5, 4, 3], [-1, 12, 5], [1, -1]])
def test_a_reshape_that_is_more_than_axes_of_size_1(sizes: list[int]) -> None:
    text = f"g (float[N,3,M,5] x) => (float[A,B] y) {{ t = {IN}(x) r = Reshape(t, s) y = Flatten(r)}}"
    found = inferred(text, s=np.array(sizes))
    feeds = {"x": random(1, 3, 4, 5)}
    wanted = run(found, feeds)
    assert not sink(found).modified
    assert same_bits(wanted, run(found, feeds))


def test_an_operand_with_fewer_axes_is_refused() -> None:
    text = f"g (float[2,3,4,5] x, float[3] c) => (float[2,3,4,5] y) {{ t = {IN}(x) z = Add(t, c) y = {OUT}(z) }}"
    result = sink(inferred(text))
    assert not result.modified
    assert "Add: an operand has fewer axes than the transposed one" in [skip.reason for skip in result.skips]


def test_a_broadcast_operand_costs_less_than_what_vanishes() -> None:
    """A gate per channel is transposed instead of the tensor that it is multiplied with."""
    text = f"g (float[N,3,4,5] x, float[N,1,1,3] s) => (float[N,3,4,5] y) {{ t = {IN}(x) z = Mul(t, s) y = {OUT}(z) }}"
    found = inferred(text)
    feeds = {"x": random(2, 3, 4, 5), "s": random(2, 1, 1, 3)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 1
    assert op_types(found) == ["Transpose", "Mul"]
    assert same_bits(wanted, run(found, feeds))


def test_never_more_transposes_nor_more_elements_moved() -> None:
    """Three small operands are transposed: afterwards it would be two large ones."""
    text = f"""g (float[2,8,9,3] big, float[2,3,1,1] a, float[2,3,1,1] b, float[2,3,1,1] c) => (float[2,8,9,3] y) {{
        u = {IN}(a) v = {IN}(b) w = {IN}(c) p = Mul(big, u) q = Add(p, v) y = Max(q, w)
    }}"""
    assert not sink(inferred(text)).modified


def test_operands_that_come_through_transposes_join() -> None:
    text = f"""g (float[N,3,4,5] a, float[N,3,4,5] b) => (float[N,4,5,6] y) {{
        s = {IN}(a) t = {IN}(b) u = Relu(s) y = Concat<axis=3>(u, t)
    }}"""
    found = inferred(text)
    feeds = {"a": random(2, 3, 4, 5), "b": random(2, 3, 4, 5, seed=1)}
    wanted = run(found, feeds)
    sink(found)
    assert op_types(found) == ["Relu", "Concat", "Transpose"]
    assert [v.name for v in found.graph.outputs] == ["y"]
    assert same_bits(wanted, run(found, feeds))


def test_moves_up_where_that_joins() -> None:
    text = f"""g (float[N,6,4,5] x) => (float[N,4,5,3] y, float[N,4,5,3] z) {{
        r = Relu(x) a, b = Split<axis=1>(r) y = {IN}(a) t = {IN}(b) z = Neg(t)
    }}"""
    found = inferred(text)
    feeds = {"x": random(2, 6, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 1
    assert op_types(found) == ["Relu", "Transpose", "Split", "Neg"]
    assert same_bits(wanted, run(found, feeds))


def test_moves_behind_what_makes_the_tensor_smaller() -> None:
    text = f"g (float[N,3,4,5] x) => (float[N,1,5,3] y) {{ t = {IN}(x) y = ReduceMax<axes=[1]>(t) }}"
    found = inferred(text)
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts == {"Transposes moved": 1, "nodes turned": 1}
    assert op_types(found) == ["ReduceMax", "Transpose"]
    assert same_bits(wanted, run(found, feeds))


def test_other_readers_and_graph_outputs_keep_a_transpose() -> None:
    text = f"""g (float[N,3,4,5] x) => (float[N,4,5,3] r, float[N,3,4,5] y, float[N,3,4,5] z, float[N,5,4,3] w) {{
        t = {IN}(x) r = Relu(t) y = {OUT}(r) z = {OUT}(r) w = Transpose<perm=[0,2,1,3]>(r)
    }}"""
    found = inferred(text)
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    sink(found)
    assert [v.name for v in found.graph.outputs] == ["r", "y", "z", "w"]
    assert same_bits(wanted, run(found, feeds))
    assert transposes(found) < 4


def test_a_transpose_that_something_else_reads_stays() -> None:
    text = f"""g (float[N,3,4,5] x) => (float[N,3,4,5] y, float[N,4,5,3] c) {{
        t = {IN}(x) r = Relu(t) y = {OUT}(r) c = CumSum(t, k)
    }}"""
    found = inferred(text, k=np.array(3))
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 1
    assert sorted(op_types(found)) == ["CumSum", "Relu", "Transpose"]
    assert same_bits(wanted, run(found, feeds))


def test_a_shared_constant_stays_for_its_other_reader() -> None:
    text = f"""g (float[N,3,4,3] x) => (float[N,3,4,3] y, float[N,3,4,3] z) {{
        t = {IN}(x) a = Add(t, c) y = {OUT}(a) z = Add(x, c)
    }}"""
    found = inferred(text, c=random(3))
    feeds = {"x": random(2, 3, 4, 3)}
    wanted = run(found, feeds)
    assert sink(found).modified and len(found.graph.initializers) == 2
    assert same_bits(wanted, run(found, feeds))


def test_a_value_that_a_subgraph_captures() -> None:
    text = f"""g (bool c, float[N,3,4,5] x) => (float[N,3,4,5] y, float[N,4,5,3] z) {{
        t = {IN}(x) r = Relu(t) y = {OUT}(r)
        z = If (c) < then_branch = a () => (float[N,4,5,3] p) {{ p = Neg(r) }},
                     else_branch = b () => (float[N,4,5,3] q) {{ q = Abs(t) }} >
    }}"""
    found = inferred(text)
    feeds = {"c": np.array(True), "x": random(2, 3, 4, 5)}
    for branch in (True, False):
        feeds["c"] = np.array(branch)
        wanted = run(found, feeds)
        sink(found)
        assert same_bits(wanted, run(found, feeds))


def test_inside_a_subgraph_with_captured_operands() -> None:
    text = f"""g (bool c, float[N,3,4,5] x, float[N,4,5,3] w) => (float[N,3,4,5] y) {{
        t = {IN}(x)
        y = If (c) < then_branch = a () => (float[N,3,4,5] p) {{ u = {IN}(x) v = Add(u, k) p = {OUT}(v) }},
                     else_branch = b () => (float[N,3,4,5] q) {{ m = Mul(t, w) q = {OUT}(m) }} >
    }}"""
    found = inferred(text, k=random(3))
    feeds = {"x": random(2, 3, 4, 5), "w": random(2, 4, 5, 3, seed=3)}
    wanted = [run(found, {**feeds, "c": np.array(c)}) for c in (True, False)]
    assert sink(found).counts["Transposes removed"] == 2
    for c, before in zip((True, False), wanted, strict=True):
        assert same_bits(before, run(found, {**feeds, "c": np.array(c)}))


def test_transposes_in_a_row_become_one() -> None:
    text = f"g (float[N,3,4,5] x) => (float[N,4,3,5] y) {{ t = {IN}(x) u = Transpose<perm=[0,1,3,2]>(t) y = Relu(u) }}"
    found = inferred(text)
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts == {"Transposes composed": 1}
    assert op_types(found) == ["Transpose", "Relu"]
    assert same_bits(wanted, run(found, feeds))


def test_a_transpose_and_its_inverse_between_names_that_must_stay() -> None:
    found = inferred(f"g (float[N,3,4,5] x) => (float[N,3,4,5] y) {{ t = {IN}(x) y = {OUT}(t) }}")
    result = sink(found)
    assert not result.modified
    assert "a graph output cannot take another name" in [skip.reason for skip in result.skips]


def test_an_order_that_is_not_written_reverses_the_axes() -> None:
    found = inferred(
        "g (float[3,4] x) => (float[3,4] y) { t = Transpose(x) r = Add(t, c) y = Transpose(r) }", c=random(3)
    )
    feeds = {"x": random(3, 4)}
    wanted = run(found, feeds)
    assert sink(found).modified and op_types(found) == ["Add"]
    assert same_bits(wanted, run(found, feeds))


FLAT = {
    "Flatten": ("f = Flatten(t)", "y = Gemm(f, w, b)", False),
    "Reshape": ("f = Reshape(t, s)", "y = Gemm<transB=1>(f, w, b)", True),
    "behind Relu": ("r = Relu(t) f = Flatten(r)", "y = MatMul(f, w)", False),
    "two products": ("f = Flatten(t)", "a = MatMul(f, w) c = Gemm(f, w, b) y = Add(a, c)", False),
}


@pytest.mark.parametrize(("flatten", "product", "transposed"), FLAT.values(), ids=FLAT.keys())
@pytest.mark.parametrize("dtype", ["float", "double", "float16"])
def test_a_matrix_product_takes_its_rows_in_another_order(
    flatten: str, product: str, transposed: bool, dtype: str
) -> None:
    numpy = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    text = f"g ({dtype}[N,3,4,5] x) => ({dtype}[N,2] y) {{ t = {IN}(x) {flatten} {product} }}"
    weight = (random(2, 60) if transposed else random(60, 2)).astype(numpy) / 8
    found = inferred(text, w=weight.astype(numpy), b=random(2).astype(numpy), s=np.array([-1, 60]))
    feeds = {"x": random(3, 3, 4, 5, seed=5).astype(numpy)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 1
    assert transposes(found) == 0
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize(
    "lines",
    [
        "f = Flatten(t) y = Gemm(w, f)",
        "f = Flatten<axis=2>(t) u = Transpose<perm=[1,0]>(f) y = MatMul(w2, f)",
        "f = Flatten(t) r = Relu(f) y = MatMul(r, w)",
    ],
)  # fmt: skip
def test_what_is_no_product_with_a_constant_weight_stays(lines: str) -> None:
    text = f"g (float[4,3,4,5] x) => (float[A,B] y) {{ t = {IN}(x) {lines} }}"
    found = inferred(text, w=random(60, 4), w2=random(2, 16))
    feeds = {"x": random(4, 3, 4, 5)}
    wanted = run(found, feeds)
    sink(found)
    assert transposes(found) >= 1
    assert_close(wanted, run(found, feeds))


def test_a_shared_weight_stays_for_its_other_reader() -> None:
    text = f"""g (float[N,3,4,5] x, float[M,60] v) => (float[N,2] y, float[M,2] z) {{
        t = {IN}(x) f = Flatten(t) y = MatMul(f, w) z = MatMul(v, w)
    }}"""
    found = inferred(text, w=random(60, 2))
    feeds = {"x": random(2, 3, 4, 5), "v": random(3, 60)}
    wanted = run(found, feeds)
    assert sink(found).modified and len(found.graph.initializers) == 2
    assert_close(wanted, run(found, feeds))


def test_gemm_takes_over_transposes_of_both_operands() -> None:
    text = """g (float[4,3] x, float[2,4] v) => (float[3,2] y) {
        a = Transpose<perm=[1,0]>(x) b = Transpose<perm=[1,0]>(v) y = Gemm(a, b)
    }"""
    found = inferred(text)
    feeds = {"x": random(4, 3), "v": random(2, 4)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 2
    assert op_types(found) == ["Gemm"]
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize("attributes", ["", "<start=1>", "<start=-2, end=-1>"])
def test_the_sizes_of_a_transposed_tensor(attributes: str) -> None:
    text = f"""g (float[N,3,H,5] x) => (float[N,3,H,5] y, int64[K] s) {{
        t = {IN}(x) r = Relu(t) s = Shape{attributes}(r) y = {OUT}(r)
    }}"""
    found = inferred(text)
    feeds = {"x": random(2, 3, 4, 5)}
    wanted = run(found, feeds)
    assert sink(found).counts["Transposes removed"] == 2
    assert [v.name for v in found.graph.outputs] == ["y", "s"]
    assert same_bits(wanted, run(found, feeds))


def test_functions_of_the_model_are_left_alone() -> None:
    found = between("z = Relu(t)")
    body = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Neg(x) }'
    ).graph
    found.functions["", "Relu", ""] = ir.Function("", "Relu", "", graph=body, attributes=[])
    assert not SinkTransposes()(found).modified


def test_below_opset_7_nothing_is_done() -> None:
    found = model(f"g (float[2,3,4,5] x) => (float[2,3,4,5] y) {{ t = {IN}(x) r = Relu(t) y = {OUT}(r) }}", 6)
    result = sink(found)
    assert [skip.reason for skip in result.skips] == ["opset below 7"]


def test_random_graphs_keep_their_bits() -> None:
    changed = 0
    for seed in range(60):
        found = inferred(random_graph(np.random.default_rng(seed)))
        feeds = {"x0": random(2, 2, 2, 2), "x1": random(2, 2, 2, 2, seed=1)}
        wanted, before = run(found, feeds), transposes(found)
        result = sink(found)
        assert same_bits(wanted, run(found, feeds)), seed
        assert transposes(found) <= before, seed
        assert result.modified or transposes(found) == before, seed
        changed += result.modified
    assert changed > 40


def random_graph(rng: np.random.Generator) -> str:
    """Tensors of (2, 2, 2, 2) through Transposes in few orders and operators that tell axes apart."""
    orders = ([0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1, 3])
    lines, values = [], ["x0", "x1"]
    for i in range(int(rng.integers(6, 25))):
        a, b = (values[-int(k)] for k in rng.integers(1, min(6, len(values)) + 1, 2))
        perm, axis = orders[rng.integers(3)], int(rng.integers(4))
        choices = [
            f"v{i} = Transpose<perm={perm}>({a})",
            f"v{i} = Transpose<perm={perm}>({a})",
            f"v{i} = Add({a}, {b})",
            f"v{i} = Neg({a})",
            f"s{i}, t{i} = Split<axis={axis}>({a}) v{i} = Concat<axis={axis}>(t{i}, s{i})",
            f"m{i} = ReduceMax<axes=[{axis}], keepdims=1>({a}) v{i} = Sub({a}, m{i})",
            f"m{i} = ReduceMax<axes=[{axis}], keepdims=0>({a}) n{i} = Transpose<perm=[1,0,2]>(m{i}) v{i} = Max({a}, n{i})",
            f"v{i} = Hardmax<axis={axis}>({a})",
            f"s{i} = Shape({a}) v{i} = Reshape({a}, s{i})",
        ]
        lines.append(str(rng.choice(choices)))
        values.append(f"v{i}")
    outputs = sorted({values[-1], str(rng.choice(values[2:])), str(rng.choice(values[2:]))})
    declared = ", ".join(f"float[2,2,2,2] {name}" for name in outputs)
    return f"g (float[2,2,2,2] x0, float[2,2,2,2] x1) => ({declared}) {{ {' '.join(lines)} }}"


def test_time_is_linear_in_nodes() -> None:
    """Operands in alternating orders: each region could reach over the whole chain."""
    from tamis.passes.layout import transparent, transpose_region

    def visits(length: int) -> int:
        steps = [
            f"u{i} = Transpose<perm=[{'0,2,1' if i % 2 else '1,0,2'}]>(w) v{i} = Add(v{i - 1}, u{i})"
            for i in range(1, length)
        ]
        found = inferred(
            f"g (float[4,4,4] w, float[4,4,4] v0) => (float[4,4,4] y) {{ {' '.join(steps)} y = Relu(v{length - 1}) }}"
        )
        calls = 0

        def counting(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            return turn(*arguments)

        turn = transparent.turn
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transpose_region, "turn", counting)
            SinkTransposes()(found)
        return calls

    assert visits(200) < 2.5 * visits(100)
