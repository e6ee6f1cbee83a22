"""OBS scores of groups of a model: the error of a refit, end to end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tamis.passes.pruning.axes.axis import Role
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.importance import obs
from tamis.passes.pruning.importance.activation_weighted import NOT_FINITE
from tamis.passes.pruning.importance.curve import Curve
from tamis.passes.pruning.importance.moments import Moments
from tamis.passes.pruning.importance.obs import obs_curves
from tamis.passes.pruning.importance.product import Product, product_of
from tests.models import Array, run
from tests.passes.pruning.importance.importance_nets import ATTENTION, CONVS, LSTM, MLP, Feeds, graph, samples


def curves(found: AxisGraph, *shape: int, count: int = 16, **options: Any) -> list[Curve]:
    options = {"positions": 10**6, "ridge": 0.0, **options}
    result, _ = obs_curves(found.model, found.groups, found.ties, samples(*shape, count=count), **options)
    return [result[group] for group in found.groups]


def consumer(found: AxisGraph, group: int = 0) -> Product:
    result = product_of(found.groups[group].with_role(Role.CONSUME)[0])
    assert isinstance(result, Product)
    return result


def observed(found: AxisGraph, product: Product, feeds: list[Feeds]) -> Array:
    """All rows that ``product`` reads."""
    found.model.graph.outputs.append(product.value)
    arrays = [run(found.model, f)[-1] for f in feeds]
    found.model.graph.outputs.pop()
    return np.concatenate([product.rows(a, 10**6, np.random.default_rng(0)) for a in arrays]).astype(np.float64)


def refit_error(x: Array, matrix: Array, gone: Array) -> float:
    """Share of the variance of the output that least squares with a bias leaves without the columns ``gone``."""
    y = x @ matrix
    keep = np.setdiff1d(np.arange(x.shape[1]), gone)
    rest = np.concatenate([x[:, keep], np.ones((len(x), 1))], axis=1)
    fitted, *_ = np.linalg.lstsq(rest, y, rcond=None)
    return float(((y - rest @ fitted) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum())


@pytest.fixture
def not_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ridge is what is asked for."""
    monkeypatch.setattr(Moments, "shrinkage", lambda moments, covariance: 0.0)


@pytest.mark.usefixtures("not_shrunk")
@pytest.mark.parametrize(("text", "shape"), [(MLP, (40, 6)), (CONVS, (1, 3, 8, 8))])
def test_losses_are_errors_of_a_refit(text: str, shape: tuple[int, ...]) -> None:
    found = graph(text)
    for group, curve in enumerate(curves(found, *shape, block=2)):
        product = consumer(found, group)
        x = observed(found, product, list(samples(*shape)()))
        for n in range(len(curve.order) + 1):
            gone = product.rows_of_units()[curve.order[:n]].ravel()
            assert curve.loss[n] == pytest.approx(refit_error(x, product.matrix(), gone), rel=1e-3, abs=1e-5)


@pytest.mark.usefixtures("not_shrunk")
def test_one_of_a_pair_is_free() -> None:
    """Duplicates: either can go, not both; norms and energies see two channels like any other."""
    weights = np.random.default_rng(1).normal(size=(6, 12)).astype(np.float32)
    weights[:, 7] = weights[:, 2]
    found = graph(MLP, {"w1": weights, "b1": np.zeros(12, np.float32)})
    (curve,) = curves(found, 40, 6, ridge=1e-4, block=1)
    assert curve.order[0] in (2, 7)
    other = 9 - int(curve.order[0])
    assert curve.loss[1] < 0.02 * np.diff(curve.loss)[curve.order.tolist().index(other)]


@pytest.mark.usefixtures("not_shrunk")
def test_a_sum_of_others_is_free() -> None:
    weights = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    mixed = np.concatenate([weights, weights[:, :2].sum(axis=1, keepdims=True)], axis=1)
    text = (
        "net (float[N, 6] x, float[6, 6] w1, float[6, 3] w2) => (float[N, 3] y) { h = MatMul(x, w1) y = MatMul(h, w2) }"
    )
    (curve,) = curves(graph(text, {"w1": mixed}), 40, 6, ridge=1e-5, block=1)
    assert curve.order[0] in (0, 1, 5) and curve.loss[1] < 1e-4
    assert curve.loss[2] > 1e-2


def test_few_rows_do_not_make_channels_free() -> None:
    """With fewer rows than channels least squares leaves no error at all."""
    few, many = (curves(graph(MLP), 1, 6, count=count, ridge=1e-2)[0] for count in (5, 2000))
    assert few.loss[6] > 0.5 * many.loss[6] > 0


@pytest.mark.usefixtures("not_shrunk")
def test_readers_of_one_value_are_added() -> None:
    text = """
net (float[N, 6] x, float[6, 8] w1, float[8, 3] w2, float[8, 4] w3) => (float[N, 3] y, float[N, 4] z) {
  h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) z = MatMul(r, w3) }
"""
    found = graph(text)
    (curve,) = curves(found, 40, 6, ridge=1e-3)
    assert curve.loss[-1] == pytest.approx(2)
    x = observed(found, consumer(found), list(samples(40, 6)()))
    gone = curve.order[:3]
    members = found.groups[0].with_role(Role.CONSUME)
    errors = [refit_error(x, p.matrix(), gone) for m in members if isinstance(p := product_of(m), Product)]
    assert len(errors) == 2
    assert curve.loss[3] == pytest.approx(sum(errors), rel=0.05)


def test_little_memory_gives_the_same() -> None:
    """One group at a time, with as many runs over the samples."""
    found = graph(CONVS)
    runs: list[int] = []
    give = samples(1, 3, 8, 8, count=4)

    def counted() -> Any:
        runs.append(1)
        return give()

    wide, _ = obs_curves(found.model, found.groups, found.ties, counted)
    before = len(runs)
    narrow, skips = obs_curves(found.model, found.groups, found.ties, counted, memory=4 * 108**2)
    assert len(runs) - before > before and skips == ()
    for group in found.groups:
        np.testing.assert_array_equal(wide[group].order, narrow[group].order)
        np.testing.assert_allclose(wide[group].loss, narrow[group].loss, rtol=1e-9)


@pytest.mark.parametrize("limit", ["memory", "length"])
def test_what_does_not_fit_counts_by_its_energy(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.passes.pruning.importance.activation_weighted import activation_weighted

    if limit == "length":
        monkeypatch.setattr(obs, "LONGEST", 50)
    found = graph(CONVS)
    give = samples(1, 3, 8, 8, count=4)
    memory = 4 * 50**2 if limit == "memory" else obs.MEMORY
    result, skips = obs_curves(found.model, found.groups, found.ties, give, memory=memory)
    energies, _ = activation_weighted(found.model, found.groups, found.ties, give)
    first, second = found.groups
    assert [s.node for s in skips] == [consumer(found).node.name]
    assert ("do not fit" if limit == "memory" else "more than 50") in skips[0].reason
    np.testing.assert_allclose(np.diff(result[first].loss), np.sort(energies[first]), rtol=1e-9)
    assert not np.allclose(np.diff(result[second].loss), np.sort(energies[second]))


@pytest.mark.parametrize(
    ("text", "shape", "reason"), [(LSTM, (5, 1, 4), "a LSTM"), (ATTENTION, (2, 5, 8), "without a weight")]
)
def test_other_readers_count_by_their_energy(text: str, shape: tuple[int, ...], reason: str) -> None:
    found = graph(text, views=(0,) if text is LSTM else (1,))
    result, skips = obs_curves(found.model, found.groups, found.ties, samples(*shape))
    assert len(skips) == 1 and reason in skips[0].reason
    for group in found.groups:
        assert sorted(result[group].order.tolist()) == list(range(group.units))
        assert (np.diff(result[group].loss) > 0).all()


def test_values_that_are_not_finite_leave_the_weights() -> None:
    found = graph(MLP)
    broken = [{"x": np.full((2, 6), value, np.float32)} for value in (1, np.nan)]
    result, skips = obs_curves(found.model, found.groups, found.ties, lambda: broken)
    assert [(s.reason, s.node) for s in skips] == [(NOT_FINITE, "Gemm_2")]
    curve = result[found.groups[0]]
    weights = (consumer(found).matrix() ** 2).sum(axis=1)
    np.testing.assert_array_equal(curve.order, np.argsort(weights))
    assert curve.loss[-1] == pytest.approx(1)


def test_moments_that_have_no_inverse_leave_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(h: Array, rows: Array) -> Array:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(obs, "restricted_inverse", refuse)
    found = graph(MLP)
    result, skips = obs_curves(found.model, found.groups, found.ties, samples(7, 6))
    assert [s.reason for s in skips] == [obs.NOT_DEFINITE]
    assert result[found.groups[0]].loss[-1] == pytest.approx(1)


def test_what_never_varies_is_free() -> None:
    """The next bias takes over what is constant."""
    found = graph(MLP, {"w1": np.zeros((6, 12), np.float32), "b1": np.ones(12, np.float32)})
    (curve,) = curves(found, 40, 6)
    assert not curve.loss.any() and len(curve.order) == 12


def test_progress_is_told_by_group() -> None:
    found = graph(CONVS)
    told: list[tuple[float, str]] = []
    curves(found, 1, 3, 8, 8, count=2, progress=lambda share, name: told.append((share, name)))
    assert told == [(0.0, found.groups[0].name), (0.5, found.groups[1].name)]
