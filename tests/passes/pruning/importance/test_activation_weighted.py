"""Energies that units bring in, against what the values are."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.graph_pass import Skip
from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.importance.activation_weighted import (
    NOT_FINITE,
    NOT_SEEN,
    Reading,
    activation_weighted,
    energy,
)
from tamis.passes.pruning.importance.weight_norms import weight_norms
from tests.models import Array, run
from tests.passes.pruning.importance.importance_nets import ATTENTION, CONVS, LSTM, MLP, graph, samples


def values(text: str, name: str, *shape: int) -> Array:
    """What the net computes, all samples one behind the other."""
    found = graph(text)
    value = next(v for n in found.model.graph for v in n.outputs if v.name == name)
    found.model.graph.outputs.append(value)
    return np.stack([run(found.model, feeds)[-1] for feeds in samples(*shape)()]).astype(np.float64)


def test_of_a_dense_layer() -> None:
    found = graph(MLP)
    scores, skips = activation_weighted(found.model, found.groups, found.ties, samples(7, 6))
    squares = (values(MLP, "r", 7, 6) ** 2).mean(axis=(0, 1))
    energies = (found.groups[0].with_role(Role.CONSUME)[0].elements.astype(np.float64) ** 2).sum(axis=1) * squares
    np.testing.assert_allclose(scores[found.groups[0]], energies / energies.sum(), rtol=1e-5)
    assert skips == ()


def test_of_convolutions() -> None:
    found = graph(CONVS)
    scores, _ = activation_weighted(found.model, found.groups, found.ties, samples(1, 3, 8, 8))
    squares = (values(CONVS, "s", 1, 3, 8, 8) ** 2).mean(axis=(0, 1, 3, 4))
    energies = (found.groups[0].with_role(Role.CONSUME)[0].elements.astype(np.float64) ** 2).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(scores[found.groups[0]], energies * squares / (energies * squares).sum(), rtol=1e-5)


def test_of_queries_and_keys() -> None:
    found = graph(ATTENTION, views=(1,))
    (group,) = (g for g in found.groups if g.contracted)
    scores, skips = activation_weighted(found.model, [group], found.ties, samples(2, 5, 8))
    q, k = ((values(ATTENTION, name, 2, 5, 8).reshape(-1, 2, 4) ** 2).mean(axis=(0, 1)) for name in ("q", "k"))
    assert skips == () and group.units == 4
    np.testing.assert_allclose(scores[group], q * k / (q * k).sum(), rtol=1e-5)


def test_of_whole_heads() -> None:
    found = graph(ATTENTION)
    (group,) = found.groups
    scores, _ = activation_weighted(found.model, [group], found.ties, samples(2, 5, 8))
    squares = (values(ATTENTION, "oj", 2, 5, 8) ** 2).mean(axis=(0, 1, 2))
    energies = (group.with_role(Role.CONSUME)[0].elements.astype(np.float64) ** 2).sum(axis=1) * squares
    np.testing.assert_allclose(scores[group], energies.reshape(2, 4).sum(axis=1) / energies.sum(), rtol=1e-5)


def test_of_hidden_units() -> None:
    """The recurrent weights read what the node gives; the layer behind it reads it as well."""
    found = graph(LSTM)
    (group,) = found.groups
    scores, skips = activation_weighted(found.model, [group], found.ties, samples(5, 1, 4))
    squares = (values(LSTM, "h", 5, 1, 4) ** 2).mean(axis=(0, 1, 2, 3))
    wanted = np.zeros(6)
    for member in group.with_role(Role.CONSUME):
        weights = np.moveaxis(member.elements.astype(np.float64), member.axis.index, 0).reshape(6, -1)
        energies = (weights**2).sum(axis=1) * squares
        wanted += energies / energies.sum()
    assert len(group.with_role(Role.CONSUME)) == 2 and skips == ()
    np.testing.assert_allclose(scores[group], wanted, rtol=1e-5)


def test_values_that_are_not_finite_leave_the_weights() -> None:
    found = graph(MLP)
    broken = [{"x": np.full((2, 6), np.nan, np.float32)}]
    scores, skips = activation_weighted(found.model, found.groups, found.ties, lambda: broken)
    assert [(s.reason, s.node) for s in skips] == [(NOT_FINITE, "Gemm_2")]
    weights = (found.groups[0].with_role(Role.CONSUME)[0].elements.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(scores[found.groups[0]], weights / weights.sum(), rtol=1e-12)


def test_a_contraction_that_is_not_finite_leaves_the_norms() -> None:
    found = graph(ATTENTION, views=(1,))
    (group,) = (g for g in found.groups if g.contracted)
    broken = [{"x": np.full((2, 5, 8), np.nan, np.float32)}]
    scores, skips = activation_weighted(found.model, [group], found.ties, lambda: broken)
    assert [s.reason for s in skips] == [NOT_FINITE]
    np.testing.assert_array_equal(scores[group], weight_norms(group, 2))


def test_zeros_cost_nothing() -> None:
    found = graph(MLP, {"w2": np.zeros((12, 5), np.float32)})
    scores, _ = activation_weighted(found.model, found.groups, found.ties, samples(7, 6))
    assert not scores[found.groups[0]].any()
    assert scores[found.groups[0]].shape == (12,)
    assert pytest.approx(0) == float(scores[found.groups[0]].sum())


def test_a_reader_without_a_value_to_look_at() -> None:
    (group,) = graph(MLP).groups
    (member,) = group.with_role(Role.CONSUME)
    skips: list[Skip] = []
    found = energy(group, [Reading("reader", None, member)], {}, skips)
    assert skips == [Skip(NOT_SEEN, "reader")] and found.sum() == pytest.approx(1)


def test_the_positions_of_a_grouped_convolution() -> None:
    """Channel j of each group goes as one; the weight has it once, the value once a group."""
    text = """
net (float[1, 3, 4, 4] x, float[6, 3, 1, 1] w1, float[4, 3, 1, 1] w2) => (float[1, 4, 4, 4] y) {
  a = Conv(x, w1)
  r = Relu(a)
  y = Conv<group = 2>(r, w2)
}
"""
    found = graph(text, views=(1,))
    (group,) = found.groups
    scores, _ = activation_weighted(found.model, [group], found.ties, samples(1, 3, 4, 4))
    squares = (values(text, "r", 1, 3, 4, 4) ** 2).mean(axis=(0, 1, 3, 4)).reshape(2, 3).mean(axis=0)
    energies = (group.with_role(Role.CONSUME)[0].elements.astype(np.float64) ** 2).sum(axis=(0, 2, 3)) * squares
    np.testing.assert_allclose(scores[group], energies / energies.sum(), rtol=1e-5)
