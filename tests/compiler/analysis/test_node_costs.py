"""Parameters and bytes: what a kernel reads and writes, by itself and fused, with views, parts and graphs inside."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.node_costs import count_parameters, group_cost
from tests.models import model, random


def test_a_node_reads_its_inputs_and_weights_and_writes_its_output() -> None:
    found = model("g (float[3, 4] x) => (float[3, 5] y) { y = MatMul(x, w) }", w=random(4, 5))
    cost = group_cost(list(found.graph))
    assert (cost.macs, cost.parameters, cost.read, cost.written, cost.element_ops) == (60, 20, 4 * (12 + 20), 60, 0)
    assert cost.moved == 188


def test_element_types_have_their_sizes() -> None:
    half = model("g (float16[3, 4] x) => (float16[3, 4] y) { y = Neg(x) }")
    double = model("g (double[3, 4] x) => (double[3, 4] y) { y = Neg(x) }")
    assert [group_cost(list(m.graph)).moved for m in (half, double)] == [48, 192]


def test_a_value_that_is_read_twice_moves_once() -> None:
    found = model("g (float[10] x) => (float[10] y) { y = Mul(x, x) }")
    cost = group_cost(list(found.graph))
    assert (cost.read, cost.element_ops, cost.macs) == (40, 10, 0)


FUSED = """g (float[1, 8, 4, 4] x) => (float[1, 2, 4, 4] y, float[1, 2, 4, 4] z) <float[1, 2, 4, 4] c, float[1, 2, 4, 4] r> {
    c = Conv(x, w)
    r = Relu(c)
    y = Neg(r)
    z = Abs(c)
}"""


def test_what_only_a_kernel_reads_does_not_move() -> None:
    nodes = list(model(FUSED, w=random(2, 8, 1, 1)).graph)
    conv, relu, neg, other = nodes
    image, small = 4 * 128, 4 * 32
    assert group_cost([conv, relu, neg, other]).moved == image + 64 + 2 * small
    cost = group_cost([conv, relu])
    assert (cost.read, cost.written) == (image + 64, 2 * small), "others read both c and r"
    assert cost.macs == 32 * 8


@pytest.mark.parametrize("op", ["Reshape(x, s)", "Flatten(x)", "Identity(x)"])
def test_views_move_nothing(op: str) -> None:
    found = model(f"g (float[3, 4] x) => (float[3, 4] y) {{ y = {op} }}", s=np.array([3, 4]))
    cost = group_cost(list(found.graph))
    assert (cost.moved, cost.element_ops, cost.parameters) == (0, 0, 0)


def test_a_lookup_reads_only_what_it_needs() -> None:
    found = model("g (int64[2] i) => (float[2, 8] y) { y = Gather(table, i) }", table=random(1000, 8))
    cost = group_cost(list(found.graph))
    assert (cost.read, cost.written, cost.parameters) == (64 + 16, 64, 8000)


def test_unknown_sizes_are_not_guessed() -> None:
    found = model("g (float[N, 4] x) => (float[N, 5] y) { y = MatMul(x, w) }", w=random(4, 5))
    cost = group_cost(list(found.graph))
    assert (cost.macs, cost.read, cost.written, cost.moved, cost.parameters) == (None, None, None, None, 20)


def test_shared_weights_count_once() -> None:
    found = model("g (float[4, 4] x) => (float[4, 4] y) { h = MatMul(x, w) y = MatMul(h, w) }", w=random(4, 4))
    assert count_parameters(list(found.graph)) == 16
    assert [group_cost([node]).parameters for node in found.graph] == [16, 16]


BRANCHES = """g (bool c, float[3, 4] x) => (float[3, 5] y) {
    y = If(c) <
        then_branch = t () => (float[3, 5] a) { a = MatMul(x, w) },
        else_branch = e () => (float[3, 5] b) { b = Slice(x5, zero, three) }
    >
}"""


def test_of_branches_the_larger_counts() -> None:
    found = model(BRANCHES, w=random(4, 5), x5=random(4, 5), zero=np.array([0]), three=np.array([3]))
    cost = group_cost(list(found.graph))
    assert (cost.macs, cost.note) == (60, "the larger branch")
    assert cost.parameters == 40


LOOP = """g (int64 n, bool c, float[4, 4] x) => (float[4, 4] y) {
    y = Loop(n, c, x) <body = b (int64 i, bool go, float[4, 4] h) => (bool again, float[4, 4] k) {
        again = Identity(go)
        k = MatMul(h, w)
    }>
}"""


def test_of_loops_one_iteration_counts() -> None:
    cost = group_cost(list(model(LOOP, w=random(4, 4)).graph))
    assert (cost.macs, cost.note, cost.parameters) == (64, "one iteration", 16)


def test_functions_of_the_model_are_not_known() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[4] x) => (float[4] y) { y = own.twice(x) }
    <domain: "own", opset_import: ["" : 17]>
    twice (a) => (b) { b = Add(a, a) }"""
    found = ir.from_onnx_text(text)
    assert group_cost(list(found.graph), found.functions).macs is None
