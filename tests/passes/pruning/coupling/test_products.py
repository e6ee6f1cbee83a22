"""MatMul, Gemm and Einsum: what goes together, and the same results taken out and masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.pruning.both_ways import TOLERANCE, difference, masked, random_units, removed, run
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.axis_graph import NO_READER, NOT_ZERO, AxisGraph
from tamis.passes.pruning.axes.group import Group
from tamis.passes.pruning.coupling.labelled_product import DIAGONAL, SUMMED
from tamis.passes.pruning.coupling.products import RANKS, read_equation
from tests.models import Array, check, model, random


def made(graph: str, opset: int = 17, /, **weights: Array) -> ir.Model:
    found = model(graph, opset, **weights)
    Canonicalize()(found)
    return found


def slots(group: Group, role: Role) -> list[tuple[str, int]]:
    """(Initializer, axis) of the constants with a role."""
    return [(str(m.axis.tensor.value.name), m.axis.index) for m in group.with_role(role)]  # type: ignore[union-attr]


def hold(found: ir.Model, *views: int) -> None:
    """Removed equals masked, and masked differs from the model, for each group."""
    graph = AxisGraph(found, views or (0,))
    feeds = {str(v.name): random(*v.shape.numpy(), seed=1) for v in found.graph.inputs if v.shape is not None}
    for groups in ([i] for i in range(len(graph.groups))):
        chosen = random_units(graph, np.random.default_rng(len(groups)), groups)
        without = removed(found, chosen, views or (0,))
        check(without)
        wanted = run(masked(found, chosen, views or (0,)), feeds)
        assert difference(run(without, feeds), wanted) < TOLERANCE
        assert difference(run(found, feeds), wanted) > 100 * TOLERANCE
        assert all(v.const_value.size for v in without.graph.initializers.values() if v.const_value is not None)


W = {"V": random(8, 6, seed=2), "W": random(6, 4, seed=3)}
CHAINS: dict[str, tuple[str, str, dict[str, Array]]] = {
    "constants on the right": ("a = MatMul (x, V) b = Relu (a) y = MatMul (b, W)", "3,5,4", W),
    "constants on the left": (
        "a = MatMul (V, x) b = Relu (a) y = MatMul (W, b)",
        "3,4,8",
        {"V": random(6, 5, seed=2), "W": random(4, 6, seed=3)},
    ),
    "a vector on the right": (
        "a = MatMul (x, V) b = Relu (a) y = MatMul (b, W)",
        "3,5",
        {**W, "W": random(6, seed=3)},
    ),
    "a vector on the left": (
        "a = MatMul (V, x) b = Relu (a) y = MatMul (W, b)",
        "3,8",
        {"V": random(6, 5, seed=2), "W": random(6, seed=3)},
    ),
    "a batch of products": (
        "a = MatMul (x, V) b = Relu (a) y = MatMul (b, W)",
        "3,5,4",
        {"V": random(3, 8, 6, seed=2), "W": random(3, 6, 4, seed=3)},
    ),
    "Einsum": (
        'a = Einsum <equation = "bti,io->bto"> (x, V) b = Relu (a) y = Einsum <equation = "...o,oj"> (b, W)',
        "3,5,4",
        W,
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_hidden_channels_are_produced_and_consumed(name: str) -> None:
    nodes, result, weights = CHAINS[name]
    found = made(f"g (float[3,5,8] x) => (float[{result}] y) {{ {nodes} }}", **weights)
    (group,) = [g for g in AxisGraph(found).groups if g.units == 6]
    left = "left" in name
    assert slots(group, Role.PRODUCE) == [("V", weights["V"].ndim - (2 if left else 1))]
    assert slots(group, Role.CONSUME) == [("W", max(0, weights["W"].ndim - (1 if left else 2)))]
    hold(found)


def test_weights_that_are_multiplied_with_each_other_are_left_alone() -> None:
    found = made('g (float[3,5,8] x) => (float[3,5,4] y) { y = Einsum <equation = "bti,io,oj->btj"> (x, V, W) }', **W)
    assert not AxisGraph(found).groups


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("addend", [None, (), (1,), (6,), (1, 6), (5, 1), (5, 6)])
def test_gemm_in_every_form(trans_a: int, trans_b: int, addend: tuple[int, ...] | None) -> None:
    c = "" if addend is None else ", C"
    weights: dict[str, Any] = {"V": random(8, 6).T.copy() if trans_b else random(8, 6), "W": random(6, 4, seed=1)}
    if addend is not None:
        weights["C"] = random(*addend, seed=2)
    text = (
        f"g (float[{'8,5' if trans_a else '5,8'}] x) => (float[5,4] y) {{ a = Gemm <alpha = 0.5, beta = 2.0, "
        f"transA = {trans_a}, transB = {trans_b}> (x, V{c}) b = LeakyRelu (a) y = Gemm (b, W) }}"
    )
    found = made(text, **weights)
    (group,) = AxisGraph(found).groups
    assert slots(group, Role.PRODUCE) == [("V", 0 if trans_b else 1)]
    assert slots(group, Role.CONSUME) == [("W", 0)]
    assert slots(group, Role.OFFSET) == ([("C", len(addend) - 1)] if addend and addend[-1] == 6 else [])
    hold(found)


def test_a_computed_addend_of_gemm_goes_along() -> None:
    found = made(
        "g (float[5,8] x) => (float[5,4] y) { a = MatMul (x, U) b = Gemm (x, V, a) y = MatMul (b, W) }",
        U=random(8, 6, seed=4),
        **W,
    )
    (group,) = AxisGraph(found).groups
    assert slots(group, Role.PRODUCE) == [("U", 1), ("V", 1)]
    hold(found)


def test_an_addend_that_is_repeated_keeps_products_of_values_whole() -> None:
    """Rows of a are zero where those of x are, but not once c is added to each."""
    text = (
        "g (float[1,8] z) => (float[4,4] y) {{ t = MatMul (z, U) x = Reshape (t, s) a = Gemm (x, V{}) r = Relu (a) "
        "b = Transpose <perm = [1, 0]> (r) y = MatMul (b, a) }}"
    )
    weights = {"U": random(8, 30, seed=4), "V": random(6, 4), "s": np.array([5, 6])}
    plain = AxisGraph(made(text.format(""), **weights))
    assert [(g.units, g.contracted) for g in plain.groups] == [(5, True)]
    hold(plain.model)
    added = AxisGraph(made(text.format(", C"), **weights, C=random(4)))
    assert not added.groups
    assert NOT_ZERO in added.frozen[0].reasons


HEADS = """g (float[1,5,8] x) => (float[1,5,8] y) {{
  q0 = MatMul (x, Q) q1 = Add (q0, qb) q2 = Reshape (q1, s) q = Transpose <perm = [0, 2, 1, 3]> (q2)
  k0 = MatMul (x, K) k1 = Add (k0, kb) k2 = Reshape (k1, s) k = Transpose <perm = [0, 2, 3, 1]> (k2)
  v0 = MatMul (x, V) v1 = Reshape (v0, s) v = Transpose <perm = [0, 2, 1, 3]> (v1)
  p0 = {} p1 = Mul (p0, c) p = Softmax <axis = -1> (p1)
  o0 = MatMul (p, v) o1 = Transpose <perm = [0, 2, 1, 3]> (o0) o2 = Reshape (o1, t) y = MatMul (o2, O) }}"""
HEAD_WEIGHTS = {
    **{name: random(8, 12, seed=i) for i, name in enumerate("QKV")},
    "qb": random(12, seed=6),
    "kb": random(12, seed=7),
    "O": random(12, 8, seed=5),
    "s": np.array([1, 5, 3, 4]),
    "t": np.array([1, 5, 12]),
    "c": np.array(0.5, np.float32),
}


@pytest.mark.parametrize("scores", ["MatMul (q, k)", 'Einsum <equation = "bhtd,bhds->bhts"> (q, k)'])
def test_attention_goes_by_heads_or_by_parts_of_all_heads(scores: str) -> None:
    found = made(HEADS.format(scores), **HEAD_WEIGHTS)
    (heads,) = AxisGraph(found).groups
    assert heads.units == 3 and not heads.contracted
    assert {name for name, _ in slots(heads, Role.PRODUCE)} == {"Q", "K", "V"}
    assert slots(heads, Role.CONSUME) == [("O", 0)]
    np.testing.assert_array_equal(heads.with_role(Role.CONSUME)[0].positions, np.arange(12).reshape(3, 4))
    hold(found)
    parts = {g.contracted: g for g in AxisGraph(found, [1]).groups}
    assert [g.units for g in parts.values()] == [4, 4]
    assert {name for name, _ in slots(parts[True], Role.PRODUCE)} == {"Q", "K"}
    assert {name for name, _ in slots(parts[False], Role.PRODUCE)} == {"V"}
    np.testing.assert_array_equal(parts[False].with_role(Role.CONSUME)[0].positions, np.arange(12).reshape(3, 4).T)
    hold(found, 1)


def test_the_scale_of_scores_stays() -> None:
    found = made(HEADS.format("MatMul (q, k)"), **HEAD_WEIGHTS)
    graph = AxisGraph(found, [1])
    without = removed(found, random_units(graph, np.random.default_rng(0)), [1])
    scale = next(n for n in without.graph if n.op_type == "Mul").inputs[1]
    assert scale is not None and scale.const_value is not None and scale.const_value.numpy() == 0.5


def test_scores_of_values_that_are_not_zero_at_zero_are_frozen() -> None:
    text = HEADS.replace(
        "q = Transpose <perm = [0, 2, 1, 3]> (q2)", "q3 = Sigmoid (q2) q = Transpose <perm = [0, 2, 1, 3]> (q3)"
    )
    graph = AxisGraph(made(text.format("MatMul (q, k)"), **HEAD_WEIGHTS), [1])
    assert not any(g.contracted for g in graph.groups)
    assert any(NOT_ZERO in f.reasons for f in graph.frozen)


def test_one_head_of_keys_for_all_queries() -> None:
    """The axis of size 1 is repeated; it cannot go, the heads of the queries can."""
    text = (
        "g (float[1,5,8] x) => (float[1,5,8] y) { q0 = MatMul (x, Q) q1 = Reshape (q0, s) "
        "q = Transpose <perm = [0, 2, 1, 3]> (q1) k0 = MatMul (x, K) k1 = Reshape (k0, r) "
        "k = Transpose <perm = [0, 2, 3, 1]> (k1) p0 = MatMul (q, k) p = Softmax (p0) v = Transpose <perm = [0, 1, 3, 2]> (k) "
        "o0 = MatMul (p, v) o1 = Transpose <perm = [0, 2, 1, 3]> (o0) o2 = Reshape (o1, t) y = MatMul (o2, O) }"
    )
    weights = HEAD_WEIGHTS | {"K": random(8, 4, seed=9), "r": np.array([1, 5, 1, 4])}
    found = made(text, **{k: v for k, v in weights.items() if k in "QKOsrt"})
    graph = AxisGraph(found)
    assert [g.units for g in graph.groups] == [3]
    hold(found)
    assert [g.units for g in AxisGraph(found, [1]).groups] == [4]
    hold(found, 1)


@pytest.mark.parametrize(
    ("equation", "channels", "second", "result", "reason"),
    [
        ("bcij->bij", 6, "", "1,3,3", SUMMED),
        ("bcii->bci", 6, "", "1,6,3", NO_READER),
        ("bcci->bci", 3, "", "1,3,3", DIAGONAL),
        ("bcij,bc->bij", 6, "1,1", "1,3,3", SUMMED),
    ],
)
def test_what_einsum_cannot_spare(equation: str, channels: int, second: str, result: str, reason: str) -> None:
    given = f", float[{second}] z" if second else ""
    found = made(
        f"g (float[1,8] x{given}) => (float[{result}] y) {{ "
        f'a = Einsum <equation = "bx,xcij->bcij"> (x, V) y = Einsum <equation = "{equation}"> (a{", z" * bool(second)}) }}',
        V=random(8, channels, 3, 3),
    )
    graph = AxisGraph(found)
    assert not graph.groups
    assert reason in {reason for f in graph.frozen for reason in f.reasons}


@pytest.mark.parametrize(
    ("equation", "ranks", "labels"),
    [
        ("ij, jk -> ik", (2, 2), [("i", "j"), ("j", "k"), ("i", "k")]),
        ("ba", (2,), [("b", "a"), ("a", "b")]),
        ("ij,jk", (2, 2), [("i", "j"), ("j", "k"), ("i", "k")]),
        ("...ij,...jk->...ik", (4, 3), [(1, 0, "i", "j"), (0, "j", "k"), (1, 0, "i", "k")]),
        ("b...,b", (3, 1), [("b", 1, 0), ("b",), (1, 0)]),
        ("ij->i", (3,), None),
        ("i,j->ij", (1,), None),
    ],
)
def test_equations(equation: str, ranks: tuple[int, ...], labels: list[tuple[str | int, ...]] | None) -> None:
    found = read_equation(equation, ranks)
    if labels is None:
        # A rank that does not fit is found when the labels are laid beside the shapes.
        assert found is None or any(len(term) != rank for term, rank in zip(found, ranks, strict=False))
    else:
        assert found == labels


def test_products_of_unknown_rank_are_frozen() -> None:
    found = made(
        "g (float[2,8] x, float[6,4] z) => (float[2,4] y) { a = MatMul (x, V) y = MatMul (a, z) }", V=random(8, 6)
    )
    found.graph.inputs[1].shape = None
    graph = AxisGraph(found)
    assert not graph.groups
    assert RANKS in graph.frozen[0].reasons
