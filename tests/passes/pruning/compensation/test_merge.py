from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassContext
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tamis.passes.pruning.compensation.merge import merge, most_alike
from tests.models import Array, assert_close, check, model, random, run

NET = """g (float[1, 3, 6, 6] x) => (float[1, 4, 6, 6] y) {
    a = Conv(x, w, b)
    r = BETWEEN
    y = Conv<pads=[1, 1, 1, 1]>(r, v, c)
}"""


def graph_of(found: ir.Model) -> AxisGraph:
    Canonicalize()(found, PassContext())
    return AxisGraph(found)


def scaled(array: Array, *pairs: tuple[int, int, float]) -> Array:
    """Slice ``a`` of each (a, b, s) is s times slice b."""
    found = array.copy()
    for a, b, s in pairs:
        found[a] = np.float32(s) * found[b]
    return found


def merged(
    text: str, gone: list[int], weights: dict[str, Array], threshold: float = 0.4
) -> tuple[int, list[Array], list[Array]]:
    """Units merged, outputs of the whole model, outputs of the one without ``gone`` of its first group."""
    whole = model(text, 18, **weights)
    feeds = {v.name: random(*v.shape.numpy(), seed=7) for v in whole.graph.inputs if v.shape is not None and v.name}
    wanted = run(whole, feeds)
    graph = graph_of(whole)
    removal = {graph.groups[0]: np.array(gone)}
    count = merge(graph, removal, threshold=threshold)
    check(whole)
    remove(graph, removal)
    return count, wanted, run(whole, feeds)


def net(between: str, *pairs: tuple[int, int, float]) -> tuple[str, dict[str, Array]]:
    weights = {"w": scaled(random(5, 3, 1, 1), *pairs), "b": scaled(random(5, seed=1), *pairs)}
    return NET.replace("BETWEEN", between), {**weights, "v": random(4, 5, 3, 3, seed=2), "c": random(4, seed=3)}


@pytest.mark.parametrize(
    "between",
    [
        "Relu(a)", "LeakyRelu<alpha=0.3>(a)", "MaxPool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(a)",
        "AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(a)", "Identity(a)",
    ],
)  # fmt: skip
def test_multiples_cost_nothing(between: str) -> None:
    text, weights = net(between, (1, 0, 2.0), (3, 4, 0.25), (2, 4, 3.0))
    count, wanted, found = merged(text, [1, 2, 3], weights, 0.999)
    assert count == 3
    assert_close(wanted, found)


def test_signs() -> None:
    """Without an activation a negative multiple will do, behind a ReLU it will not."""
    text, weights = net("Identity(a)", (1, 0, -2.0))
    count, wanted, found = merged(text, [1], weights)
    assert count == 1
    assert_close(wanted, found)
    text, weights = net("Relu(a)", (1, 0, -2.0))
    assert merged(text, [1], weights, 0.999)[0] == 0


@pytest.mark.parametrize("between", ["Sigmoid(a)", "HardSwish(a)", "Mul(a, a)", "Clip(a, low)", "Add(a, p)"])
def test_what_does_not_scale_is_left_alone(between: str) -> None:
    text, weights = net(between, (1, 0, 2.0))
    extra = {"low": np.asarray(-1, np.float32), "p": random(1, 1, 6, 6, seed=9)}
    name = between.partition(", ")[2].rstrip(")")
    assert merged(text, [1], {**weights, **({name: extra[name]} if name in extra else {})})[0] == 0


@pytest.mark.parametrize("second", [0.5, -0.5])
def test_a_depthwise_layer_between_must_be_alike_too(second: float) -> None:
    text = """g (float[1, 3, 6, 6] x) => (float[1, 4, 4, 4] y) {
        a = Conv(x, w, b)
        r = Relu(a)
        d = Conv<group=5>(r, k, e)
        y = Conv(d, v, c)
    }"""
    w, b = scaled(random(5, 3, 1, 1), (1, 0, 2.0)), scaled(random(5, seed=1), (1, 0, 2.0))
    k, e = scaled(random(5, 1, 3, 3, seed=4), (1, 0, second)), scaled(random(5, seed=5), (1, 0, 2 * second))
    rest = {"v": random(4, 5, 1, 1, seed=2), "c": random(4, seed=3)}
    count, wanted, found = merged(text, [1], {"w": w, "b": b, "k": k, "e": e, **rest}, 0.999)
    assert count == (second > 0)
    if second > 0:
        assert_close(wanted, found)
    assert merged(text, [1], {"w": w, "b": b, "k": random(5, 1, 3, 3, seed=6), "e": e, **rest}, 0.999)[0] == 0


def test_all_that_is_summed_must_be_alike() -> None:
    text = """g (float[1, 3, 6, 6] x) => (float[1, 4, 6, 6] y) {
        a = Conv(x, w)
        r = Relu(x)
        s = Conv(r, u, b)
        t = Add(a, s)
        h = Relu(t)
        y = Conv(h, v)
    }"""
    w, u = (scaled(random(5, 3, 1, 1, seed=i), (1, 0, 2.0)) for i in (0, 1))
    b, v = scaled(random(5, seed=2), (1, 0, 2.0)), random(4, 5, 1, 1, seed=3)
    count, wanted, found = merged(text, [1], {"w": w, "u": u, "b": b, "v": v}, 0.999)
    assert count == 1
    assert_close(wanted, found)
    assert merged(text, [1], {"w": w, "u": random(5, 3, 1, 1, seed=4), "b": b, "v": v}, 0.999)[0] == 0


def test_readers_behind_a_flatten() -> None:
    text = """g (float[1, 3, 4, 4] x) => (float[1, 7] y) {
        a = Conv(x, w, b)
        r = Relu(a)
        f = Flatten(r)
        y = Gemm<transB=1>(f, v)
    }"""
    w, b = scaled(random(5, 3, 1, 1), (1, 0, 2.0), (2, 0, 0.5)), scaled(random(5, seed=1), (1, 0, 2.0), (2, 0, 0.5))
    count, wanted, found = merged(text, [1, 2], {"w": w, "b": b, "v": random(7, 80, seed=2)}, 0.999)
    assert count == 2
    assert_close(wanted, found)


def test_merging_is_better_than_dropping() -> None:
    """Units that are only alike: less is lost than without."""
    text, weights = net("Relu(a)")
    weights["w"][1] = weights["w"][0] + 0.2 * weights["w"][2]
    weights["b"][1] = weights["b"][0]
    _, wanted, found = merged(text, [1], weights, 0.4)
    _, _, dropped = merged(text, [1], weights, 1.1)
    assert np.linalg.norm(wanted[0] - found[0]) < 0.5 * np.linalg.norm(wanted[0] - dropped[0])


def test_the_factor_is_the_best_one_behind_a_relu() -> None:
    """Over many normal inputs, against least squares."""
    w = np.array([[1.0, 0.0], [1.2, 1.6]])
    _, scale = most_alike([(w, np.zeros((2, 0)))], np.array([1]), np.array([0]), rectified=True, threshold=0.4)
    kept, gone = np.maximum(np.random.default_rng(0).standard_normal((400_000, 2)) @ w.T, 0).T
    assert scale[0] == pytest.approx((kept @ gone) / (kept @ kept), rel=1e-2)


def test_units_of_nothing_and_of_nan() -> None:
    w = np.array([[1.0, 0.0], [0.0, 0.0], [np.nan, 1.0], [2.0, 0.0]])
    into, scale = most_alike(
        [(w, np.zeros((4, 0)))], np.array([1, 2, 3]), np.array([0]), rectified=False, threshold=0.0
    )
    assert into.tolist() == [0, 0, 0]
    assert scale.tolist() == [0, 0, 2]
