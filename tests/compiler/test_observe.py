"""Tests of compiler/observe.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.digest import structure_signature
from tamis.compiler.errors import DataError, PreconditionError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.observe import observe
from tests.models import Array, model, random

CHAIN = """g (float[N,4] x) => (float[N,4] y) {
    a = Relu(x)
    b = Mul(a, w)
    c = Neg(b)
    y = Add(c, a)
}"""
BRANCH = """g (float[4] x, bool t) => (float[4] y) {
    a = Neg(x)
    y = If (t) <
        then_branch = yes () => (float[4] p) { q = Relu(a) p = Neg(q) },
        else_branch = no () => (float[4] r) { r = Neg(a) }
    >
    z = Abs(y)
}"""


def _samples() -> Iterator[Feeds]:
    for i, rows in enumerate((2, 2, 5)):
        yield {"x": random(rows, 4, seed=i)}


def test_gives_inputs_inner_values_and_outputs_of_every_sample() -> None:
    found = model(CHAIN, w=np.array([1, 2, 3, 4], np.float32))
    before = structure_signature(found)
    seen = list(observe(found, ["y", "b", "x"], _samples))
    assert [index for index, _ in seen] == [0, 1, 2]
    for (_, values), feeds in zip(seen, _samples(), strict=True):
        a = np.maximum(feeds["x"], 0)
        b = a * np.array([1, 2, 3, 4], np.float32)
        assert set(values) == {"x", "b", "y"}
        np.testing.assert_array_equal(values["x"], feeds["x"])
        np.testing.assert_array_equal(values["b"], b)
        np.testing.assert_array_equal(values["y"], -b + a)
    assert structure_signature(found) == before


def test_values_beyond_the_memory_come_in_groups() -> None:
    found = model(CHAIN, w=np.ones(4, np.float32))
    wanted = dict(enumerate({n: v for n, v in values.items()} for _, values in observe(found, "abcy", _samples)))
    groups: list[tuple[int, set[str]]] = []
    for index, values in observe(found, "abcy", _samples, memory=2 * 2 * 4 * 8):
        groups.append((index, set(values)))
        for name, array in values.items():
            np.testing.assert_array_equal(array, wanted[index][name])
    sets = [names for index, names in groups if index == 0]
    assert len(sets) > 1 and set().union(*sets) == set("abcy") and sum(map(len, sets)) == 4
    assert [i for i, _ in groups] == [0, 1, 2] * len(sets)


def test_a_value_larger_than_the_memory_is_observed_alone() -> None:
    found = model(CHAIN, w=np.ones(4, np.float32))
    assert [set(v) for i, v in observe(found, "ab", _samples, memory=1) if i == 0] == [{"a"}, {"b"}]


def test_graph_inputs_alone_need_no_run() -> None:
    found = model(CHAIN, w=np.ones(4, np.float32))
    assert [set(v) for _, v in observe(found, ["x"], _samples)] == [{"x"}] * 3


def test_nothing_asked_for() -> None:
    assert list(observe(model(CHAIN, w=np.ones(4, np.float32)), [], _samples)) == []


def test_branches_are_computed_but_not_observed() -> None:
    found = model(BRANCH)

    def samples() -> Iterator[Feeds]:
        for flag in (True, False):
            yield {"x": random(4), "t": np.array(flag)}

    x: Array = random(4)
    values = [v["z"] for _, v in observe(found, ["z"], samples)]
    np.testing.assert_array_equal(values[0], np.abs(np.maximum(-x, 0)))
    np.testing.assert_array_equal(values[1], np.abs(x))
    with pytest.raises(PreconditionError, match=r"value 'q': .*graph of an If"):
        next(observe(found, ["q"], samples))


@pytest.mark.parametrize(("name", "found"), [("w", "a constant"), ("nowhere", "no such value")])
def test_refuses_what_is_not_computed(name: str, found: str) -> None:
    with pytest.raises(PreconditionError, match=f"value '{name}': .*found {found}"):
        next(observe(model(CHAIN, w=np.ones(4, np.float32)), [name], _samples))


def test_refuses_sequences() -> None:
    graph = (
        "g (float[4] x) => (float[4] y) { s = SplitToSequence <axis = 0> (x) y = ConcatFromSequence <axis = 0> (s) }"
    )
    with pytest.raises(PreconditionError, match=r"value 's': .*expected a tensor"):
        next(observe(_typed(graph), ["s"], lambda: [{"x": random(4)}]))


def _typed(graph: str) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model(graph))))


def test_refuses_no_samples() -> None:
    with pytest.raises(DataError, match="no samples"):
        next(observe(model(CHAIN, w=np.ones(4, np.float32)), ["a"], list))
