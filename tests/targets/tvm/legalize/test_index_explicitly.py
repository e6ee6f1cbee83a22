from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.index_explicitly import IndexExplicitly
from tests.models import Array, check, model, op_types, random, run, same_bits

F = np.float32


def rewrite(found: ir.Model) -> PassResult:
    result = IndexExplicitly()(found)
    check(found)
    assert not IndexExplicitly()(found).modified
    return result


def assert_same(found: ir.Model, feeds: dict[str, Array]) -> None:
    wanted = run(found, feeds)
    assert rewrite(found).counts == {"simplified": 1}
    assert not {"OneHot", "ReverseSequence", "Slice"} & set(op_types(found))
    assert same_bits(wanted, run(found, feeds))


def one_hot(
    axis: int = -1, depth: object = 4, opset: int = 17, kind: str = "int64", values: object = (0, 1)
) -> ir.Model:
    text = f"g ({kind}[2, 3] i) => (float[a, b, c] y) {{ y = OneHot<axis = {axis}>(i, d, v) }}"
    return model(text, opset, d=np.array(depth), v=np.array(values, F))


INDICES = np.array([[0, 3, -1], [-4, 4, -5]])
"""Two of them are out of range."""


@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
@pytest.mark.parametrize("depth", [4, [4], np.float32(4)])
def test_one_hot(axis: int, depth: object) -> None:
    assert_same(one_hot(axis, depth, values=(0.25, -1.5)), {"i": INDICES})


@pytest.mark.parametrize("opset", [9, 11, 13, 21])
def test_one_hot_in_operator_sets(opset: int) -> None:
    assert_same(one_hot(opset=opset), {"i": INDICES})


@pytest.mark.parametrize(("kind", "dtype"), [("int32", np.int32), ("float", np.float32)])
def test_one_hot_of_other_indices(kind: str, dtype: Callable[[Any], Any]) -> None:
    assert_same(one_hot(kind=kind, depth=dtype(4)), {"i": INDICES.astype(type(dtype(0)))})


def test_one_hot_of_values_that_are_not_constant() -> None:
    found = one_hot()
    found.graph.inputs.append(found.graph.initializers.pop("v"))
    assert_same(found, {"i": INDICES, "v": np.array([2, 5], F)})


def test_one_hot_of_an_unknown_depth() -> None:
    found = one_hot()
    found.graph.inputs.append(found.graph.initializers.pop("d"))
    result = IndexExplicitly()(found)
    assert not result.modified and [skip.reason for skip in result.skips] == ["the depth is not constant"]


def test_one_hot_of_other_values() -> None:
    text = "g (int64[2, 3] i) => (bool[a, b, c] y) { y = OneHot(i, d, v) }"
    result = IndexExplicitly()(model(text, 17, d=np.array(4), v=np.array([False, True])))
    assert [skip.reason for skip in result.skips] == ["values of a type that Where has no kernel for"]


@pytest.mark.parametrize("axes", ["time_axis = 0, batch_axis = 1", "time_axis = 1, batch_axis = 0"])
@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (4, 4, 2, 3)])
def test_reverse_sequence(axes: str, shape: tuple[int, ...]) -> None:
    out = ", ".join("abcd"[: len(shape)])
    text = f"g (float[{', '.join(map(str, shape))}] x, int64[4] n) => (float[{out}] y) {{ y = ReverseSequence<{axes}>(x, n) }}"
    assert_same(model(text, 17), {"x": random(*shape), "n": np.array([1, 4, 2, 3])})


@pytest.mark.parametrize(
    ("bounds", "count"),
    [
        ("starts = [1], ends = [3], axes = [1]", 1),
        ("starts = [-2, 0], ends = [9223372036854775807, 2]", 2),
        ("starts = [1, 1], ends = [-1, 4], axes = [0, -1]", 2),
        ("starts = [0], ends = [100], axes = [0]", 0),
    ],
)
@pytest.mark.parametrize("opset", [7, 9])
def test_slices_of_old_operator_sets(bounds: str, count: int, opset: int) -> None:
    found = model(f"g (float[3, 5] x) => (float[a, b] y) {{ y = Slice<{bounds}>(x) }}", opset)
    assert_same(found, {"x": random(3, 5)})
    assert op_types(found) == ["Gather"] * count or op_types(found) == ["Identity"]


def test_slices_that_are_left_alone() -> None:
    new = model("g (float[3, 5] x) => (float[a, b] y) { y = Slice(x, s, e) }", 13, s=np.array([1]), e=np.array([2]))
    assert not rewrite(new).modified
    dynamic = model("g (float[N, 5] x) => (float[a, b] y) { y = Slice<starts = [1], ends = [2]>(x) }", 9)
    assert [skip.reason for skip in rewrite(dynamic).skips] == ["sizes that are not known"]
    empty = model("g (float[3, 5] x) => (float[a, b] y) { y = Slice<starts = [2], ends = [1]>(x) }", 9)
    assert [skip.reason for skip in rewrite(empty).skips] == ["an empty result"]
