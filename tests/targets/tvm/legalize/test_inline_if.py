from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.inline_if import InlineIf, Options
from tests.models import Array, check, model, nodes, op_types, random, run


def net(
    then: str, other: str, *, kind: str = "float", shape: str = "2, 3", opset: int = 17, **weights: Array
) -> ir.Model:
    out = f"{kind}[{shape}]" if shape else kind
    found = model(
        f"""g (bool k, {kind}[2, 3] x) => ({out} y) {{ y = If (k) <
            then_branch = t () => ({out} p) {{ {then} }}, else_branch = e () => ({out} q) {{ {other} }}> }}""",
        opset,
        **weights,
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), data_prop=True))


def inline(found: ir.Model, options: Options | None = None) -> PassResult:
    result = InlineIf(options)(found)
    check(found)
    assert not InlineIf(options)(found).modified
    return result


def assert_inlined(found: ir.Model, x: Array, count: int = 1) -> None:
    feeds = [{"k": np.array(k), "x": x} for k in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert inline(found).counts == {"ifs inlined": count}
    assert not any(node.op_type == "If" for node in nodes(found))
    for w, f in zip(wanted, feeds, strict=True):
        for a, b in zip(w, run(found, f), strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@pytest.mark.parametrize("opset", [9, 13, 17, 21])
def test_both_branches(opset: int) -> None:
    assert_inlined(net("p = Relu(x)", "a = Neg(x) q = Exp(a)", opset=opset), random(2, 3))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("double", np.float64), ("float16", np.float16), ("int64", np.int64), ("int32", np.int32), ("int8", np.int8)],
)
def test_element_types(kind: str, dtype: type) -> None:
    assert_inlined(net("p = Neg(x)", "q = Identity(x)", kind=kind), np.arange(6).reshape(2, 3).astype(dtype))


def test_infinities_and_nan_pass() -> None:
    x = np.array([[np.nan, np.inf, -np.inf], [-1, 0, 1]], np.float32)
    assert_inlined(net("p = Sqrt(x)", "q = Identity(x)"), x)


def test_equal_names_in_the_branches_and_constants_inside() -> None:
    text = "c = Constant<value_float = 2.0>() a = Mul(x, c) {} = Neg(a)"
    assert_inlined(net(text.format("p"), text.replace("2.0", "3.0").format("q")), random(2, 3))


def test_initializers_of_a_branch() -> None:
    found = net("p = Relu(x)", "q = Neg(x)")
    branch = found.graph[0].attributes["then_branch"].as_graph()
    value = ir.Value(name="w", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2, 3]))
    value.const_value = ir.tensor(random(2, 3), name="w")
    branch.register_initializer(value)
    branch[0].replace_input_with(0, value)
    assert_inlined(found, random(2, 3, seed=1))


def test_nested() -> None:
    inner = "p = If (k) <then_branch = a () => (float[2, 3] b) { b = Exp(x) }, else_branch = c () => (float[2, 3] d) { d = Neg(x) }>"
    assert_inlined(net(inner, "q = Relu(x)"), random(2, 3), count=2)


def test_several_outputs() -> None:
    found = model(
        """g (bool k, float[2, 3] x) => (float[2, 3] y, float[2, 1] z) { y, u = If (k) <
        then_branch = t () => (float[2, 3] p, float[2, 1] r) { p = Relu(x) r = ReduceSum(x, one) },
        else_branch = e () => (float[2, 3] q, float[2, 1] s) { q = Neg(x) s = ReduceMax<axes = [1]>(x) }> z = Neg(u) }""",
        17,
        one=np.array([1]),
    )
    found = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), data_prop=True))
    assert_inlined(found, random(2, 3))
    assert [value.name for value in found.graph.outputs] == ["y", "z"]


def test_a_result_that_is_two_outputs() -> None:
    found = net("p = Relu(x)", "q = Neg(x)")
    assert_inlined(found, random(2, 3))
    assert op_types(found) == ["Relu", "Neg", "Where"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (net("p = RandomNormalLike(x)", "q = Neg(x)"), "a branch is not a function of its inputs alone"),
        (net("a = Cast<to = 7>(x) p = Gather(t, a)", "q = Neg(x)", t=random(5)), "a branch has indices that may be out of bounds"),
        (net("p = Div(x, x)", "q = Neg(x)", kind="int64"), "a branch has an integer division"),
        (net("p = Not(x)", "q = Identity(x)", kind="bool"), "Where has no kernel for the element type"),
        (net("p = Neg(x)", "q = Concat<axis = 0>(x, x)", shape="a, b"), "the branches have different shapes"),
        (net("n = NonZero(x) c = Cast<to = 1>(n) p = ReduceSum(c)", "q = ReduceSum(x)", shape="a, b"), "a branch has shapes that are not known"),
        (net("p = ReduceSum<keepdims = 0>(x)", "q = ReduceMax<keepdims = 0>(x)", shape=""), None),
    ],
)  # fmt: skip
def test_what_is_left_alone(found: ir.Model, reason: str | None) -> None:
    result = InlineIf()(found)
    assert result.modified == (reason is None)
    assert [skip.reason for skip in result.skips] == ([] if reason is None else [reason])


def test_a_gather_of_known_indices() -> None:
    assert_inlined(net("p = Gather(x, i)", "q = Neg(x)", i=np.array([1, -2])), random(2, 3))
    result = InlineIf()(net("p = Gather(x, i)", "q = Neg(x)", i=np.array([1, 2])))
    assert [skip.reason for skip in result.skips] == ["a branch has indices that may be out of bounds"]


def test_a_condition_of_higher_rank() -> None:
    found = net("p = ReduceSum<keepdims = 0>(x)", "q = ReduceMax<keepdims = 0>(x)", shape="")
    found.graph.inputs[0].shape = ir.Shape([1])
    assert [skip.reason for skip in InlineIf()(found).skips] == ["the condition has more dimensions than a result"]


def test_long_branches_are_left_alone() -> None:
    result = inline(net("p = Relu(x)", "q = Neg(x)"), Options(max_nodes=1))
    assert [skip.reason for skip in result.skips] == ["the branches have more nodes than max_nodes"]
