from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.compiler.graph_pass import PassResult
from tamis.passes.fusion.merge_parallel_convs import MergeParallelConvs
from tests.models import Array, assert_close, check, elements, model, nodes, op_types, random, run

W3 = 0.3 * random(4, 4, 3, 3, seed=1)
W1 = 0.3 * random(4, 4, 1, 1, seed=2)
B = random(4, seed=3)
X = random(2, 4, 7, 7, seed=4)
C = random(4, 1, 1, seed=5)
BN = {"g": random(4, seed=6), "h": random(4, seed=7), "m": random(4, seed=8), "v": np.abs(random(4, seed=9)) + 0.5}
THREE = "a = Conv<pads = [1, 1, 1, 1]>(x, w3, b)"
ONE = "c = Conv(x, w1, b)"
WEIGHTS: dict[str, Array] = {"w3": W3, "w1": W1, "b": B, "c0": C, **BN}
NONE: Mapping[str, Array] = {}


def net(
    lines: str, outputs: str = "float[N, 4, H, V] y", opset: int = 17, changes: Mapping[str, Array] = NONE
) -> ir.Model:
    arrays = {**WEIGHTS, **changes}
    used = {n: a for n, a in arrays.items() if any(f"{n}{end}" in lines for end in (",", ")"))}
    return model(f"g (float[N, 4, H, V] x) => ({outputs}) {{ {lines} }}", opset, **used)


def merge(found: ir.Model) -> PassResult:
    result = MergeParallelConvs()(found)
    assert result.modified == bool(result.counts)
    check(found)
    second = MergeParallelConvs()(found)
    assert not second.modified, second.counts
    return result


def reasons(result: PassResult) -> set[str]:
    return {skip.reason for skip in result.skips}


SUMS = {
    "two": (f"{THREE} {ONE} y = Add(a, c)", 2),
    "smaller first": (f"{THREE} {ONE} y = Add(c, a)", 2),
    "chain": (f"{THREE} {ONE} d = Conv<pads = [1, 1, 1, 1]>(x, w3) s = Add(a, c) y = Add(s, d)", 3),
    "sum": (f"{THREE} {ONE} d = Conv(x, w1) y = Sum(a, c, d)", 3),
    "tree": (f"{THREE} {ONE} d = Conv(x, w1) e = Conv(x, w1) s = Add(a, c) t = Sum(d, e) y = Add(s, t)", 4),
    "identity": (f"{THREE} y = Add(x, a)", 2),
    "identity beside 1x1": (f"{ONE} y = Add(c, x)", 2),
    "identity twice": (f"{THREE} s = Add(a, x) y = Add(x, s)", 3),
    "RepVGG": (f"{THREE} {ONE} n = BatchNormalization(x, g, h, m, v) s = Add(a, c) y = Add(s, n)", 3),
    "RepVGG, affine": (f"{THREE} {ONE} p = Mul(x, c0) n = Sub(p, c0) s = Add(a, c) y = Add(n, s)", 3),
    "same padding": (f'a = Conv<auto_pad = "SAME_UPPER">(x, w3) {ONE} y = Add(a, c)', 2),
}


@pytest.mark.parametrize(("lines", "count"), SUMS.values(), ids=SUMS.keys())
def test_every_sum(lines: str, count: int) -> None:
    found = net(lines)
    wanted = run(found, {"x": X})
    assert merge(found).counts == {"branches merged": count}
    assert op_types(found) == ["Conv"]
    assert found.graph.outputs[0].name == "y"
    assert len(found.graph.initializers) == 2
    assert_close(wanted, run(found, {"x": X}))


def test_the_kernel_is_the_sum_at_the_centre() -> None:
    found = net(f"{THREE} {ONE} s = Add(a, c) y = Add(s, x)")
    merge(found)
    wanted = W3.astype(np.float64)
    wanted[..., 1, 1] += W1[..., 0, 0].astype(np.float64) + np.eye(4)
    (conv,) = found.graph
    weight, bias = (elements(found, str(v.name)) for v in conv.inputs[1:] if v is not None)
    assert (weight == wanted.astype(np.float32)).all()
    assert (bias == 2 * B).all()


@pytest.mark.parametrize("opset", [9, 11, 13, 22])
def test_opsets(opset: int) -> None:
    found = net(f"{THREE} {ONE} n = BatchNormalization(x, g, h, m, v) y = Sum(a, c, n)", opset=opset)
    wanted = run(found, {"x": X})
    assert merge(found).modified
    assert_close(wanted, run(found, {"x": X}))


def test_an_old_opset_is_left_alone() -> None:
    assert reasons(merge(net(f"{THREE} {ONE} y = Add(a, c)", opset=8))) == {"opset below 9"}


@pytest.mark.parametrize(("dtype", "text"), [(np.float16, "float16"), (np.float64, "double")])
def test_dtypes(dtype: type[np.floating], text: str) -> None:
    lines = "a = Conv<pads = [1, 1, 1, 1]>(x, w3, b) c = Conv(x, w1) s = Add(a, c) y = Add(s, x)"
    arrays = {n: WEIGHTS[n].astype(dtype) for n in ("w3", "w1", "b")}
    found = model(f"g ({text}[N, 4, 7, 7] x) => ({text}[N, 4, 7, 7] y) {{ {lines} }}", **arrays)
    x = {"x": X.astype(dtype)}
    wanted = run(found, x) if dtype is np.float16 else []  # ONNX Runtime has no Conv for float64
    assert merge(found).modified
    (conv,) = found.graph
    assert elements(found, str(conv.inputs[1] and conv.inputs[1].name)).dtype == dtype
    if wanted:
        np.testing.assert_allclose(run(found, x)[0], wanted[0], rtol=1e-2, atol=1e-2)


NEAR = {
    "other strides": (
        "a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w3) c = Conv<strides = [1, 2]>(x, w1) y = Add(a, c)",
        "the branches differ in channels, groups, strides or output size",
    ),
    "other size": (
        "a = Conv(x, w3) c = Conv<strides = [1, 1]>(x, w1) y = Add(a, c)",
        "the branches differ in channels, groups, strides or output size",
    ),
    "broadcast channels": (
        f"{THREE} c = Conv(x, w) y = Add(a, c)",
        "the branches differ in channels, groups, strides or output size",
    ),
    "identity with a stride": (
        "a = Conv<strides = [2, 2]>(x, w1) y = Add(a, x)",
        "the branches differ in channels, groups, strides or output size",
    ),
    "cross": (
        "a = Conv<pads = [0, 1, 0, 1]>(x, w13) c = Conv<pads = [1, 0, 1, 0]>(x, w31) y = Add(a, c)",
        "the merged kernel takes more multiplications than its parts",
    ),
    "same padding with a stride": (
        'a = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w3) c = Conv<strides = [2, 2]>(x, w1) y = Add(a, c)',
        "auto_pad depends on the size of the input",
    ),
    "weights that are computed": (
        f"k = Relu(w3) a = Conv<pads = [1, 1, 1, 1]>(x, k) {ONE} y = Add(a, c)",
        "weight is not constant",
    ),
    "overflow": (f"{THREE} c = Conv(x, wide) d = Conv(x, wide) y = Sum(a, c, d)", "merged weights are not finite"),
    "affine over another axis": (
        f"{THREE} p = Mul(x, row) y = Add(a, p)",
        "constant is not scalar or per channel",
    ),
}
ODD = {
    "w": W1[:1],
    "w13": random(4, 4, 1, 3),
    "w31": random(4, 4, 3, 1),
    "wide": np.full_like(W1, 3e38),
    "row": random(7, seed=3),
}


@pytest.mark.parametrize(("lines", "reason"), NEAR.values(), ids=NEAR.keys())
def test_near_misses(lines: str, reason: str) -> None:
    result = merge(net(lines, "float[A, D, H, V] y", changes=ODD))
    assert not result.modified
    assert reasons(result) == {reason}


def test_a_branch_that_is_read_elsewhere() -> None:
    lines = f"{THREE} {ONE} y = Add(a, c) z = Relu(c)"
    result = merge(net(lines, "float[N, 4, H, V] y, float[N, 4, H, V] z"))
    assert reasons(result) == {"something else reads an intermediate value"}


def test_a_branch_that_is_a_graph_output() -> None:
    result = merge(net(f"{THREE} {ONE} y = Add(a, c)", "float[N, 4, H, V] y, float[N, 4, H, V] c"))
    assert reasons(result) == {"an intermediate value is a graph output"}


def test_a_partial_sum_that_is_a_graph_output() -> None:
    found = net(
        f"{THREE} {ONE} d = Conv(x, w1) s = Add(a, c) y = Add(s, d)", "float[N, 4, H, V] y, float[N, 4, H, V] s"
    )
    wanted = run(found, {"x": X})
    assert merge(found).counts == {"branches merged": 2}
    assert [v.name for v in found.graph.outputs] == ["y", "s"]
    assert sorted(op_types(found)) == ["Add", "Conv", "Conv"]
    assert_close(wanted, run(found, {"x": X}))


def test_other_terms_stay() -> None:
    lines = f"{THREE} {ONE} r = Relu(x) s = Add(a, r) q = Mul(r, c0) t = Sum(s, c, q) y = Relu(t)"
    found = net(lines)
    wanted = run(found, {"x": X})
    assert merge(found).counts == {"branches merged": 2}
    assert sorted(op_types(found)) == ["Add", "Add", "Conv", "Mul", "Relu", "Relu"]
    assert_close(wanted, run(found, {"x": X}))


def test_two_inputs_in_one_sum() -> None:
    lines = f"{THREE} {ONE} r = Relu(x) d = Conv(r, w1) e = Conv(r, w1, b) y = Sum(a, d, c, e)"
    found = net(lines)
    wanted = run(found, {"x": X})
    assert merge(found).counts == {"branches merged": 4}
    assert sorted(op_types(found)) == ["Add", "Conv", "Conv", "Relu"]
    assert_close(wanted, run(found, {"x": X}))


def test_a_shared_initializer_stays_for_its_other_reader() -> None:
    found = net(f"{THREE} {ONE} s = Add(a, c) r = Relu(s) y = Conv(r, w1)")
    wanted = run(found, {"x": X})
    assert merge(found).modified
    assert len(found.graph.initializers) == 3
    assert (elements(found, "w1") == W1).all()
    assert_close(wanted, run(found, {"x": X}))


def test_a_residual_block_is_the_identity_and_its_convolution() -> None:
    found = net("k = Conv(x, w1, b) d = Conv<pads = [1, 1, 1, 1]>(k, w3) y = Add(k, d)")
    wanted = run(found, {"x": X})
    assert merge(found).counts == {"branches merged": 2}
    assert op_types(found) == ["Conv", "Conv"]
    assert_close(wanted, run(found, {"x": X}))


def test_inside_a_subgraph_with_an_input_from_outside() -> None:
    graph = """g (bool q, float[1, 4, 7, 7] x) => (float[1, 4, 7, 7] y) {
        y = If (q) <
            then_branch = t () => (float[1, 4, 7, 7] u) {
                a = Conv<pads = [1, 1, 1, 1]>(x, w3, b) c = Conv(x, w1) s = Add(a, c) u = Add(s, x) },
            else_branch = f () => (float[1, 4, 7, 7] w) { w = Relu(x) }
        >
    }"""
    found = model(graph, w3=W3, w1=W1, b=B)
    feeds = {"q": np.array(True), "x": X[:1]}
    wanted = run(found, feeds)
    assert merge(found).counts == {"branches merged": 3}
    assert sum(node.op_type == "Conv" for node in nodes(found)) == 1
    assert_close(wanted, run(found, feeds))


def test_convolutions_of_another_graph_stay() -> None:
    graph = """g (bool q, float[1, 4, 7, 7] x) => (float[1, 4, 7, 7] y) {
        a = Conv<pads = [1, 1, 1, 1]>(x, w3)
        c = Conv(x, w1)
        y = If (q) <
            then_branch = t () => (float[1, 4, 7, 7] u) { u = Add(a, c) },
            else_branch = f () => (float[1, 4, 7, 7] w) { w = Relu(x) }
        >
    }"""
    assert not merge(model(graph, w3=W3, w1=W1)).modified


def test_a_long_chain_is_one_convolution() -> None:
    lines = "s0 = Conv(x, w1) " + " ".join(f"t{i} = Conv(x, w1) s{i + 1} = Add(s{i}, t{i})" for i in range(300))
    found = net(f"{lines} y = Relu(s300)")
    assert merge(found).counts == {"branches merged": 301}
    assert op_types(found) == ["Conv", "Relu"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_branches(data: st.DataObject) -> None:
    """One or two spatial axes, groups, strides, dilations, uneven padding: merged or not, the sum is the same."""
    draw = data.draw
    rank, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 4]))
    strides = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    lines, weights, names = [], {}, []
    for i in range(draw(st.integers(2, 4))):
        kernel: list[int] = []
        dilations: list[int] = []
        begins: list[int] = []
        ends: list[int] = []
        for _ in range(rank):
            k, d = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            begin = draw(st.integers(0, d * (k - 1)))
            for axes, value in zip((kernel, dilations, begins, ends), (k, d, begin, d * (k - 1) - begin), strict=True):
                axes.append(value)
        weights[f"w{i}"] = 0.3 * random(4, 4 // groups, *kernel, seed=i)
        attributes = f"group = {groups}, strides = {strides}, dilations = {dilations}, pads = {begins + ends}"
        lines.append(f"t{i} = Conv<{attributes}>(x, w{i})")
        names.append(f"t{i}")
    if set(strides) == {1} and draw(st.booleans()):
        names.insert(draw(st.integers(0, len(names))), "x")
    shape = ", ".join(["N", "4", "H", "V"][: rank + 2])
    graph = f"g (float[{shape}] x) => (float[A, B{', C' * rank}] y) {{ {' '.join(lines)} y = Sum({', '.join(names)}) }}"
    found = model(graph, **weights)
    feeds = {"x": random(2, 4, *(7, 6)[:rank])}
    wanted = run(found, feeds)
    before = sum(a.size for a in weights.values())
    merge(found)
    assert sum(a.const_value.size for a in found.graph.initializers.values() if a.const_value is not None) <= before
    assert_close(wanted, run(found, feeds))
