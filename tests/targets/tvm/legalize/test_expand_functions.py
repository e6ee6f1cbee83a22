from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.expand_functions import OPERATORS, ExpandFunctions
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run

FUNCTION = """
<opset_import: ["" : 17, "other" : 1], domain: "own"> Twice (a) => (b) { b = other.Half <k : float = 4.0> (a) }
<opset_import: ["" : 17], domain: "other"> Half <k : float = 1.0> (a) => (b) {
    c = Constant <value_float : float = @k> () b = Mul (a, c) }
"""
HEAD = '<ir_version: 8, opset_import: ["" : 17, "own" : 1, "other" : 1]>\n'


def parsed(graph: str, functions: str = FUNCTION) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(HEAD + graph + functions))


def expand(found: ir.Model) -> PassResult:
    result = ExpandFunctions()(found)
    check(found)
    assert not ExpandFunctions()(found).modified
    return result


def assert_expanded(found: ir.Model, feeds: dict[str, Array], calls: int = 1) -> None:
    wanted = run(found, feeds)
    assert expand(found).counts["calls expanded"] == calls
    assert not found.functions and not {node.op_type for node in nodes(found)} & OPERATORS
    assert_close(wanted, run(found, feeds))


def test_functions_that_call_functions() -> None:
    found = parsed("g (float[2] x) => (float[2] y) { y = own.Twice(x) }")
    assert_expanded(found, {"x": random(2)})
    assert op_types(found) == ["Constant", "Mul"]
    assert [value.name for value in found.graph.outputs] == ["y"]


def test_attributes_of_the_call() -> None:
    found = parsed("g (float[2] x) => (float[2] y) { y = other.Half<k = 0.5>(x) }")
    assert_expanded(found, {"x": random(2)})


def test_several_calls_get_names_of_their_own() -> None:
    found = parsed("g (float[2] x) => (float[2] y, float[2] b) { b = own.Twice(x) c = other.Half(b) y = own.Twice(c) }")
    assert_expanded(found, {"x": random(2)}, calls=3)
    assert [value.name for value in found.graph.outputs] == ["y", "b"]


def test_a_call_in_a_subgraph() -> None:
    found = parsed("""g (bool k, float[2] x) => (float[2] y) { z = own.Twice(x) y = If (k) <
        then_branch = t () => (float[2] p) { p = own.Twice(z) }, else_branch = e () => (float[2] q) { q = Neg(z) }> }""")
    for k in (True, False):
        assert_expanded(found.clone(), {"k": np.array(k), "x": random(2)}, calls=2)


def test_a_function_with_a_subgraph() -> None:
    functions = """<opset_import: ["" : 17], domain: "own"> Pick (k, a) => (b) { b = If (k) <
        then_branch = t () => (float[2] p) { p = Neg(a) }, else_branch = e () => (float[2] q) { q = Exp(a) }> }"""
    text = "g (bool k, float[2] x) => (float[2] y) { p = own.Pick(k, x) y = own.Pick(k, p) }"
    for k in (True, False):
        assert_expanded(parsed(text, functions), {"k": np.array(k), "x": random(2)}, calls=2)


def test_a_function_that_returns_its_input_and_leaves_an_output_out() -> None:
    functions = '<opset_import: ["" : 17], domain: "own"> Same (a) => (b, c) { b = Identity (a) c = Neg (a) }'
    assert_expanded(parsed("g (float[2] x) => (float[2] y) { y, c = own.Same(x) }", functions), {"x": random(2)})


def test_a_model_that_defines_a_standard_operator() -> None:
    functions = '<opset_import: ["" : 17], domain: ""> Celu <alpha : float = 1.0> (a) => (b) { b = Neg (a) }'
    found = parsed("g (float[2] x) => (float[2] y) { y = Celu(x) }", functions)
    x = random(2)
    assert expand(found).counts["calls expanded"] == 1
    assert np.array_equal(run(found, {"x": x})[0], -x)


def test_a_function_that_nothing_calls_goes() -> None:
    found = parsed("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    assert expand(found).counts == {"functions removed": 2}


@pytest.mark.parametrize(
    ("text", "opset"),
    [
        ("g (float[2, 3] x) => (float[2, 3] y) { y = Celu<alpha = 2.0>(x) }", 12),
        ("g (float[2, 3] x) => (float[2, 3] y) { y = Celu<alpha = 2.0>(x) }", 21),
        ("g (float16[2, 3] x) => (float16[2, 3] y) { a = Cast<to = 1>(x) b = Celu(a) y = Cast<to = 10>(b) }", 17),
        (
            "g (float[2, 8, 12] x) => (float[2, 8, 12] y) { y = Attention<q_num_heads = 3, kv_num_heads = 3>(x, x, x) }",
            23,
        ),
        ("g (float[2, 3, 4, 8] x) => (float[2, 3, 4, 8] y) { y = Attention<is_causal = 1>(x, x, x) }", 23),
        ("g (float[2, 3, 4, 8] x, bool[4, 4] m) => (float[2, 3, 4, 8] y) { y = Attention(x, x, x, m) }", 23),
        (
            "g (float[2, 3, 4, 8] x, float[9, 4] c, int64[2, 4] p) => (float[2, 3, 4, 8] y) { y = RotaryEmbedding(x, c, c, p) }",
            23,
        ),
        ("g (float[2, 3, 4] x, int64[2, 4] p) => (float l) { l = SoftmaxCrossEntropyLoss(x, p) }", 17),
        (
            'g (float[2, 3, 4] x, int64[2, 4] p) => (float[2, 4] l) { l = NegativeLogLikelihoodLoss<reduction = "none">(x, p) }',
            17,
        ),
        ("g (float[3, 8] x) => (float[a, b] y) { s = Constant<value_ints = [5, 5]>() y = CenterCropPad(x, s) }", 18),
        ("g (float[2] x) => (float[10] y) { n = Constant<value_int = 10>() y = HannWindow(n) }", 17),
    ],
)
def test_operators(text: str, opset: int) -> None:
    found = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model(text, opset))))
    feeds: dict[str, Array] = {}
    for value in found.graph.inputs:
        assert value.shape is not None and value.dtype is not None and value.name is not None
        shape = [d for d in value.shape if isinstance(d, int)]
        whole = value.dtype in (ir.DataType.INT64, ir.DataType.BOOL)
        made = np.arange(np.prod(shape)).reshape(shape) % 3 if whole else random(*shape)
        feeds[value.name] = made.astype(value.dtype.numpy())
    assert_expanded(found, feeds)


def test_swish() -> None:
    found = model("g (float[2, 3] x) => (float[2, 3] y) { y = Swish<alpha = 1.5>(x) }", 24)
    x = random(2, 3)
    assert expand(found).modified
    found.graph.opset_imports[""] = 21
    assert_close([x / (1 + np.exp(-1.5 * x))], run(found, {"x": x}))


def test_what_a_body_holds_for_one_type_only() -> None:
    found = model("g (float16[2, 3] x) => (float16[2, 3] y) { y = Celu(x) }", 28)
    assert expand(found).modified
    assert not {"Celu", "Elu"} & set(op_types(found))


def test_absent_inputs() -> None:
    text = """g (float[1, 2, 3, 4] x, float[1, 2, 5, 4] p) => (float[1, 2, 3, 4] y, float[1, 2, 8, 4] k, float[1, 2, 8, 4] v)
        { y, k, v = Attention<is_causal = 1>(x, x, x, , p, p) }"""
    assert_expanded(model(text, 23), {"x": random(1, 2, 3, 4), "p": random(1, 2, 5, 4, seed=1)})


@pytest.mark.parametrize("op", ["Elu<alpha = 0.5>", "Selu"])
def test_what_is_imported_for_one_type_only(op: str) -> None:
    found = model(f"g (double[2, 3] x) => (double[2, 3] y) {{ y = {op}(x) }}", 21)
    x = random(2, 3, dtype=np.float64)
    wanted = onnx.reference.ReferenceEvaluator(ir.to_proto(found)).run(None, {"x": x})
    assert expand(found).counts == {"calls expanded": 1}
    np.testing.assert_allclose(run(found, {"x": x})[0], np.asarray(next(iter(wanted))), rtol=1e-6)
    assert not expand(model(f"g (float[2, 3] x) => (float[2, 3] y) {{ y = {op}(x) }}", 21)).modified


def test_what_is_left_alone() -> None:
    found = model("g (float[2, 3] x) => (float[2, 3] y) { a = Gelu(x) b = HardSwish(a) y = Relu(b) }", 20)
    assert not expand(found).modified


def test_an_input_of_unknown_type() -> None:
    found = model("g (float[2, 3] x) => (float[2, 3] y) { a = Relu(x) y = Celu(a) }", 17)
    found.graph[0].outputs[0].type = None
    result = ExpandFunctions()(found)
    assert not result.modified and [skip.reason for skip in result.skips] == ["the type of an input is not known"]
