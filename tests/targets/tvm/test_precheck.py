"""What TVM cannot compile or computes wrong is said beforehand, and nothing else is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.targets.tvm import gap_table as tables
from tamis.targets.tvm.gap_table import gap_table
from tamis.targets.tvm.precheck import unsupported_nodes
from tests.models import model


def refused(graph: str, opset: int = 17, /, **weights: np.ndarray[Any, Any]) -> list[str]:
    """The lines for a graph with its shapes inferred, as the compiler hands models over."""
    proto = ir.to_proto(model(graph, opset, **weights))
    return unsupported_nodes(ir.from_proto(onnx.shape_inference.infer_shapes(proto)))


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


IMAGE = "float[1,2,6,8] x"
CONDITIONS = [
    # an unknown operator; the importer has one, and takes it
    ("g (float[2] x) => (float[2] y) { y = Celu(x) }", 17, {}, "does not import this operator"),
    ("g (float[2] x) => (float[2] y) { y = Elu(x) }", 17, {}, None),
    # opset
    (f"g ({IMAGE}) => (float[1,2,3,8] y) {{ y = Slice<starts=[0], ends=[3], axes=[2]>(x) }}", 9, {}, "before opset 10"),
    (f"g ({IMAGE}) => (float[1,2,3,8] y) {{ y = Slice(x, a, b, c) }}", 10,
     {"a": ints(0), "b": ints(3), "c": ints(2)}, None),
    # one_of, with and without the default
    ("g (float[2] x) => (bool[2] y) { y = IsInf<detect_negative=0>(x) }", 17, {}, "detect_negative is ignored"),
    ("g (float[2] x) => (bool[2] y) { y = IsInf<detect_negative=1>(x) }", 17, {}, None),
    ("g (float[2] x) => (bool[2] y) { y = IsInf(x) }", 17, {}, None),
    # none_of
    ("g (float[2,4] x, float[2,2] s) => (uint8[2,4] y) { y = QuantizeLinear<axis=1, block_size=2>(x, s) }", 21, {},
     "by blocks"),
    ("g (float[2,4] x, float s) => (uint8[2,4] y) { y = QuantizeLinear(x, s) }", 21, {}, None),
    ("g (float[2,4] x, float s) => (uint8[2,4] y) { y = QuantizeLinear(x, s) }", 13, {}, None),
    # an attribute that is there
    (f"g ({IMAGE}, float[2,1,2,2] w) => (float[1,1,14,16] y) {{ y = ConvTranspose<output_shape=[14,16], strides=[2,2]>(x, w) }}",
     17, {}, "output_shape is ignored"),
    (f"g ({IMAGE}, float[2,1,2,2] w) => (float[1,1,12,16] y) {{ y = ConvTranspose<strides=[2,2]>(x, w) }}", 17, {}, None),
    # two conditions on attributes
    (f"g ({IMAGE}) => (float[1,2,3,4] y) {{ y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad=\"SAME_LOWER\">(x) }}",
     17, {}, "the output is too small"),
    (f"g ({IMAGE}) => (float[1,2,6,8] y) {{ y = MaxPool<kernel_shape=[3,3], auto_pad=\"SAME_LOWER\">(x) }}", 17, {}, None),
    # a type of an input
    ("g (float16[2] x) => (float16[2] y) { y = Acos(x) }", 17, {}, "no such function of float16"),
    ("g (float[2] x) => (float[2] y) { y = Acos(x) }", 17, {}, None),
    # an input that is not constant
    ("g (float[2,3] x, int64[1] s) => (float[N] y) { y = Reshape(x, s) }", 17, {}, "must be constant"),
    ("g (float[2,3] x) => (float[6] y) { y = Reshape(x, s) }", 17, {"s": ints(6)}, None),
    # an initializer that is an input too is a default, not a constant
    ("g (float[2,3] x, int64[1] s) => (float[N] y) <int64[1] s = {6}> { y = Reshape(x, s) }", 17, {}, "must be constant"),
    # sizes count as constants
    ("g (float[N,4] x, float[N,2,2] z) => (float[N,2,2] y) { s = Shape(z)  y = Reshape(x, s) }", 17, {}, None),
    ("g (float[N,3] x) => (float[2] y) { s = Shape(x)  f = Cast<to=1>(s)  y = Neg(f) }", 17, {}, None),
    ("g (float[N,3] x) => (int64[2] y) { s = Shape(x)  y = Add(s, c) }", 17, {"c": ints(1, 2)}, "it computes with sizes"),
    ("g (float[N,3] x) => (int64 y) { s = Shape(x)  y = Gather(s, i) }", 17, {"i": np.array(0)}, "a size and no tensor"),
    ("g (float[N,3] x) => (int64[2] y) { y = Shape(x) }", 17, {}, None),
    # an output that is used
    (f"g ({IMAGE}) => (float[1,2,5,7] y, int64[1,2,5,7] i) {{ y, i = MaxPool<kernel_shape=[2,2]>(x) }}", 17, {}, "no indices"),
    (f"g ({IMAGE}) => (float[1,2,5,7] y) {{ y, i = MaxPool<kernel_shape=[2,2]>(x) }}", 17, {}, None),
    # other_than
    ("g (float[2] x, bool t) => (float[2] y) { y = Dropout(x, r, t) }", 17, {"r": np.float32(0.5)}, "training mode"),
    ("g (float[2] x) => (float[2] y) { y = Dropout(x, r, t) }", 17, {"r": np.float32(0.5), "t": np.array(True)}, "training mode"),
    ("g (float[2] x) => (float[2] y) { y = Dropout(x, r, t) }", 17, {"r": np.float32(0.5), "t": np.array(False)}, None),
    # any_of and only
    ("g (int32[2] x) => (int32[2] y) { y = Div(x, c) }", 17, {"c": np.array([1, 0], np.int32)}, "integers by a constant"),
    ("g (int32[2] x) => (int32[2] y) { y = Div(x, c) }", 17, {"c": np.array([1, 2], np.int32)}, None),
    ("g (float[2] x) => (float[2] y) { y = Div(x, c) }", 17, {"c": floats(0, 0)}, "by a constant zero"),
    ("g (float[2] x) => (float[2] y) { y = Div(x, c) }", 17, {"c": floats(1, 0)}, None),
    # rank
    ("g (int64[2] x) => (int64[2,3] y) { y = OneHot(x, d, v) }", 17, {"d": ints(3), "v": ints(0, 1)}, "a scalar depth"),
    ("g (int64[2] x) => (int64[2,3] y) { y = OneHot(x, d, v) }", 17, {"d": np.array(3), "v": ints(0, 1)}, None),
    # an empty input
    ("g (float[2,0] x) => (float[2,1] y) { y = ReduceMax<axes=[1]>(x) }", 17, {}, "of no elements"),
    ("g (float[2,1] x) => (float[2,1] y) { y = ReduceMax<axes=[1]>(x) }", 17, {}, None),
    # who reads it
    ("g (float[2,3] x) => (bool[2,1] y) { m = ReduceMax<axes=[1]>(x)  y = IsInf(m) }", 17, {}, "of infinite elements"),
    ("g (float[2,3] x) => (float[2,3] y) { m = ReduceMax<axes=[1]>(x)  y = Sub(x, m) }", 17, {}, None),
    # sizes that are not known
    ("g (float[1,2,H,8] x) => (float[1,2,P,4] y) { y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad=\"SAME_UPPER\">(x) }",
     17, {}, "its sizes must be known"),
    (f"g ({IMAGE}) => (float[1,2,3,4] y) {{ y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad=\"SAME_UPPER\">(x) }}",
     17, {}, None),
    ("g (float[N,1] x) => (float[N,3] y) { y = Expand(x, s) }", 17, {"s": ints(1, 3)}, "constant shape"),
    ("g (float[N,1] x, float[N,3] z) => (float[N,3] y) { s = Shape(z)  y = Expand(x, s) }", 17, {}, None),
    ("g (float[2,1] x) => (float[2,3] y) { y = Expand(x, s) }", 17, {"s": ints(1, 3)}, None),
    # relations
    ("g (float[2] x, int64 e) => (float[2] y) { y = Pow(x, e) }", 17, {}, "another type than the base"),
    ("g (float[2] x, float e) => (float[2] y) { y = Pow(x, e) }", 17, {}, None),
    (f"g ({IMAGE}) => (float[1,4,6,8] y) {{ y = Resize(x, , s) }}", 17, {"s": floats(1, 2, 1, 1)}, "first two dimensions"),
    ("g (float[N,2,6,8] x) => (float[N,2,12,16] y) { y = Resize(x, , s) }", 17, {"s": floats(1, 1, 2, 2)}, None),
    (f"g ({IMAGE}) => (float[1,2,9,10] y) {{ y = Resize(x, , s) }}", 17, {"s": floats(1, 1, 1.5, 1.3)}, "sizes that were rounded"),
    (f"g ({IMAGE}) => (float[1,2,9,12] y) {{ y = Resize(x, , s) }}", 17, {"s": floats(1, 1, 1.5, 1.5)}, None),
    ("g (float[1,2,H,8] x) => (float[1,2,P,12] y) { y = Resize(x, , s) }", 17, {"s": floats(1, 1, 1.5, 1.5)},
     "sizes that were rounded"),
    ("g (float[1,2,H,8] x) => (float[1,2,P,12] y) { y = Resize(x, , s) }", 17, {"s": floats(1, 1, 2, 1.5)}, None),
    ("g (float[1,2,9,9] x) => (float[1,2,3,3] y) { y = Resize(x, , s) }", 17, {"s": floats(1, 1, 1 / 3, 1 / 3)}, None),
    (f"g ({IMAGE}) => (float[1,2,9,13] y) {{ y = Resize(x, , , s) }}", 17, {"s": ints(1, 2, 9, 13)}, None),
    (f"g ({IMAGE}) => (float[1,2,9,13] y) {{ y = Resize(x, , e, s) }}", 17, {"e": floats(), "s": ints(1, 2, 9, 13)}, None),
    (f"g ({IMAGE}) => (float[1,4,9,13] y) {{ y = Resize(x, , , s) }}", 17, {"s": ints(1, 4, 9, 13)}, "first two dimensions"),
    (f"g ({IMAGE}) => (float[1,2,1,13] y) {{ y = Resize<coordinate_transformation_mode=\"align_corners\">(x, , , s) }}", 17,
     {"s": ints(1, 2, 1, 13)}, "corners of a single element"),
    ("g (float[2,4,4] x, float[4] s) => (float[2,4,4] y) { y = LayerNormalization<axis=1>(x, s) }", 17, {}, "fewer dimensions"),
    ("g (float[2,4,4] x, float[4] s) => (float[2,4,4] y) { y = LayerNormalization(x, s) }", 17, {}, None),
    ("g (float[2,4,4] x, float[4,4] s) => (float[2,4,4] y) { y = LayerNormalization<axis=1>(x, s) }", 17, {}, None),
    ("g (float[2,4] x, float[2,4] s) => (float[2,4] y) { y = RMSNormalization<axis=0>(x, s) }", 23, {}, "all dimensions"),
    ("g (float[2,4] x, float[4] s) => (float[2,4] y) { y = RMSNormalization(x, s) }", 23, {}, None),
    ("g (float[4] x) => (float[0] y, float[4] z) { y, z = Split(x, s) }", 17, {"s": ints(0, 4)}, "empty parts"),
    ("g (float[4] x) => (float[4] y, float[0] z) { y, z = Split(x, s) }", 17, {"s": ints(4, 0)}, None),
]  # fmt: skip
"""(Graph, opset, weights, what the only line says or None if there must be no line)."""


@pytest.mark.parametrize(("graph", "opset", "weights", "says"), CONDITIONS)
def test_conditions_hit_and_miss(graph: str, opset: int, weights: dict[str, Any], says: str | None) -> None:
    lines = refused(graph, opset, **weights)
    if says is None:
        assert lines == []
    else:
        assert len(lines) == 1
        assert says in lines[0]


def test_a_line_names_node_operator_domain_and_all_reasons() -> None:
    found = model("g (float[2] x) => (bool[2] y) { y = IsInf<detect_negative=0, detect_positive=0>(x) }")
    next(iter(found.graph)).name = "is it"
    says = "TVM computes it wrong: {} is ignored".format
    assert unsupported_nodes(found) == [f"is it (IsInf): {says('detect_negative')}; {says('detect_positive')}"]


def test_other_domains_are_refused_even_if_the_importer_knows_the_name() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
        "g (float[2] x) => (float[2] y) { z = Relu(x)  y = com.microsoft.Gelu(z) }"
    )
    (line,) = unsupported_nodes(ir.from_proto(proto))
    assert "com.microsoft::Gelu" in line


def test_the_standard_domain_has_two_names() -> None:
    found = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    next(iter(found.graph)).domain = "ai.onnx"
    assert unsupported_nodes(found) == []


def test_functions_of_the_model_are_to_be_expanded_first() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>\n'
        "g (float[2] x) => (float[2] y) { y = own.Twice(x) }\n"
        '<domain: "own", opset_import: ["" : 17]>\nTwice (a) => (b) { b = Add(a, a) }'
    )
    (line,) = unsupported_nodes(ir.from_proto(proto))
    assert "own::Twice" in line
    assert "function of the model" in line


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ir.DataType.BFLOAT16, "bfloat16"),
        (ir.DataType.FLOAT8E4M3FN, "float8e4m3fn"),
        (ir.DataType.INT4, "int4"),
        (ir.DataType.COMPLEX64, "complex64"),
        (ir.DataType.STRING, "string"),
    ],
)
def test_types_that_tvm_does_not_compute_with(kind: ir.DataType, name: str) -> None:
    found = model("g (float[2] x) => (float[2] y) { y = Identity(x) }")
    found.graph.inputs[0].type = ir.TensorType(kind)
    (line,) = unsupported_nodes(found)
    assert line.endswith(f"values of type {name}")


def test_sequences_and_optionals_are_refused() -> None:
    (line,) = refused("g (float[2] x) => (seq(float[2]) y) { y = SequenceConstruct(x, x) }")
    assert "does not import this operator" in line
    found = model("g (seq(float[2]) x) => (seq(float[2]) y) { y = Identity(x) }")
    assert "type sequence" in unsupported_nodes(found)[0]
    found = model("g (optional(float[2]) x) => (optional(float[2]) y) { y = Identity(x) }")
    assert "type optional" in unsupported_nodes(found)[0]


def test_loops_are_refused_and_branches_looked_into() -> None:
    branch = "else_branch = e () => (float[2] b) { b = Abs(x) }"
    graph = (
        "g (float[2] x, bool c) => (float[2] y) { y = If(c)<then_branch = t () => (float[2] a) { %s }, "
        + branch
        + "> }"
    )
    assert refused(graph % "a = Neg(x)") == []
    (line,) = refused(graph % "a = Celu(x)")
    assert "(Celu)" in line
    loop = (
        "g (float[2] x, int64 n, bool c) => (float[2] y) { y = Loop(n, c, x)"
        "<body = b (int64 i, bool k, float[2] v) => (bool m, float[2] w) { m = Identity(k)  w = Abs(v) }> }"
    )
    assert any("imports no loops" in line for line in refused(loop))


def test_unknown_types_and_shapes_refuse_nothing_by_themselves() -> None:
    found = model("g (float[2] x) => (float[2] y) { z = Acos(x)  y = Sqrt(z) }")
    for value in (*found.graph.inputs, *(v for node in found.graph for v in node.outputs)):
        value.type, value.shape = None, None
    assert unsupported_nodes(found) == []


def test_a_resize_between_values_without_shapes_is_judged_by_its_constants() -> None:
    graph = f"g ({IMAGE}) => (float[1,2,P,Q] y) {{ a = Neg(x)  b = Resize(a, , s)  y = Neg(b) }}"
    found = model(graph, 17, s=floats(1, 1, 2, 2))
    assert all(node.outputs[0].shape is None for node in list(found.graph)[:2])
    assert unsupported_nodes(found) == []
    assert len(unsupported_nodes(model(graph, 17, s=floats(1, 1, 2, 2.5)))) == 1


def test_the_check_leaves_the_model_as_it_is() -> None:
    found = model("g (float[2] x) => (bool[2] y) { y = IsInf<detect_negative=0>(x) }")
    before = ir.to_proto(found).SerializeToString()
    unsupported_nodes(found)
    assert ir.to_proto(found).SerializeToString() == before


def test_the_table_is_of_the_version_that_is_asked_for() -> None:
    import tomllib
    from pathlib import Path

    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert f"apache-tvm=={gap_table().tvm}" in extras["tvm"]


ALWAYS = ("DynamicQuantizeLinear", "NonMaxSuppression")
"""Operators that are wrong for some values whatever the node is like."""


def test_every_entry_names_real_operators_attributes_and_inputs() -> None:
    for gap in gap_table().gaps:
        for op in gap.op:
            assert op in gap_table().operators
            schemas = [s for s in onnx.defs.get_all_schemas_with_history() if s.name == op and not s.domain]
            if gap.opset is not None:
                first, last = gap.opset
                assert first <= last
                schemas = [s for s in schemas if s.since_version <= last]
            assert schemas
            assert set(gap.attributes) <= {name for s in schemas for name in s.attributes}
            assert all(i < max(s.max_input for s in schemas) for i in gap.inputs)
            assert all(i < max(s.max_output for s in schemas) for i in gap.outputs)
        assert gap.opset or gap.attributes or gap.inputs or gap.outputs or gap.relation or gap.op[0] in ALWAYS


def test_every_reason_is_a_clause_and_every_type_one_of_onnx() -> None:
    names = {t.name.lower() for t in ir.DataType}
    assert gap_table().types <= names
    for gap in gap_table().gaps:
        assert re.fullmatch(r"[^.]+", gap.reason)
        for condition in (*gap.inputs.values(), *gap.outputs.values()):
            assert set(condition.types or ()) <= gap_table().types


def test_an_entry_with_an_unknown_key_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        tables.Gap.model_validate({"op": ["Relu"], "atributes": {}, "reason": "a reason that is long enough"})
