from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassContext, PassResult
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.targets.tvm.legalize.fix_shapes import FixShapes
from tests.models import Array, check, model, op_types, random, run, same_bits

IF = """g (float[N, S] x, int64 rate) => (float[N, S] y) { c = Equal(rate, k) y = If (c) <
    then_branch = t () => (float[N, S] p) { p = Neg(x) }, else_branch = e () => (float[N, S] q) { q = Exp(x) }> }"""
LONG = np.dtype(np.int64)
FLOAT = np.dtype(np.float32)


def spec(*tensors: TensorSpec, dims: Mapping[str, tuple[int, int]] | None = None) -> PassContext:
    return PassContext(InputSpec(tensors, dims or {}))


def fix(found: ir.Model, context: PassContext) -> PassResult:
    result = FixShapes()(found, context)
    check(found)
    assert not FixShapes()(found, context).modified
    return result


def sizes(found: ir.Model) -> list[int | str | None]:
    shape = found.graph.inputs[0].shape
    assert shape is not None
    return [d if isinstance(d, int) else d.value for d in shape]


@pytest.mark.parametrize(("rate", "op"), [(16000, "Neg"), (8000, "Exp")])
def test_an_input_of_one_value_decides_an_if(rate: int, op: str) -> None:
    found = model(IF, 17, k=np.array(16000))
    context = spec(TensorSpec("x", FLOAT, (1, 4)), TensorSpec("rate", LONG, (), (rate, rate)))
    feeds: dict[str, Array] = {"x": random(1, 4), "rate": np.array(rate)}
    wanted = run(found, feeds)
    assert fix(found, context).counts["inputs fixed"] == 1
    assert op_types(found) == [op] and [value.name for value in found.graph.inputs] == ["x", "rate"]
    assert same_bits(wanted, run(found, feeds))


@pytest.mark.parametrize("bounds", [None, (8000, 16000)])
def test_an_input_of_several_values_stays(bounds: tuple[float, float] | None) -> None:
    found = model(IF, 17, k=np.array(16000))
    fix(found, spec(TensorSpec("x", FLOAT, (1, 4)), TensorSpec("rate", LONG, (), bounds)))
    assert "If" in op_types(found)


def test_floats_and_unknown_sizes_are_not_fixed() -> None:
    found = model("g (float[2] x, int64[N] i) => (float[2] y, int64[N] j) { y = Neg(x) j = Neg(i) }")
    context = spec(TensorSpec("x", FLOAT, (2,), (1, 1)), TensorSpec("i", LONG, ("N",), (3, 3)), dims={"N": (1, 4)})
    fix(found, context)
    assert op_types(found) == ["Neg", "Neg"]


def test_an_input_that_is_an_output_keeps_its_name() -> None:
    found = model("g (int64[2] x) => (int64[2] y) { y = Neg(x) }")
    assert fix(found, spec(TensorSpec("x", LONG, (2,), (3, 3)))).modified
    assert [value.name for value in (*found.graph.inputs, *found.graph.outputs)] == ["x", "y"]
    assert run(found, {"x": np.array([3, 3])})[0].tolist() == [-3, -3]


def test_dimensions() -> None:
    found = model("g (float[A, B, C] x) => (float[a, b, c] y) { y = Neg(x) }")
    fix(found, spec(TensorSpec("x", FLOAT, (1, "S", "T")), dims={"S": (7, 7), "T": (1, 9)}))
    assert sizes(found) == [1, 7, "T"]


def test_shape_arithmetic_is_folded() -> None:
    found = model(
        """g (float[N, 3, S] x) => (float[a, b] y)
        { s = Shape(x) n = Gather(s, zero) m = Concat<axis = 0>(n, rest) y = Reshape(x, m) }""",
        17,
        zero=np.array([0]),
        rest=np.array([-1]),
    )
    fix(found, spec(TensorSpec("x", FLOAT, (2, 3, 5))))
    assert op_types(found) == ["Reshape"]


def test_without_inputs_of_a_recipe() -> None:
    found = model("g (float[2] x) => (float[2] y) { a = Identity(x) y = Neg(a) }")
    assert fix(found, PassContext()).modified
    assert op_types(found) == ["Neg"]
