from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.graph_pass import Contract
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.verify import Verifier
from tamis.passes.pruning.dead import biases
from tamis.passes.pruning.eliminate_dead_channels import EliminateDeadChannels
from tests.models import check, elements, random, run
from tests.passes.pruning.dead.dead_nets import (
    ALL,
    IMAGE,
    IMAGES,
    ROWS,
    WEIGHTS,
    C,
    X,
    Y,
    channels,
    difference,
    eliminate,
    ready,
)
from tests.passes.pruning.dead.planting import plant
from tests.passes.pruning.random_graphs import random_graph


@pytest.mark.parametrize(("lines", "wanted"), IMAGES.values(), ids=IMAGES.keys())
def test_takes_channels_out(lines: str, wanted: dict[str, int] | None) -> None:
    found = ready(lines, X, Y, **WEIGHTS)
    result = eliminate(found, {"x": IMAGE})
    expected = ALL if wanted is None else {cause: n for cause, n in wanted.items() if n}
    assert channels(result) == expected
    assert result.counts["bytes saved"] > 0


FLAT = {
    "Gemm": ("h = Gemm<transB = 1>(x, wg, b) r = Relu(h) y = Gemm<beta = 0.5>(r, vt, c)", ALL),
    "scaled": ("h = Gemm<transB = 1>(x, wg, b) r = Relu(h) y = Gemm<alpha = 2.0>(r, vt)", ALL),
    "MatMul": ("g = MatMul(x, wt) h = Add(g, b) r = Relu(h) y = MatMul(r, vt)", ALL),
    "MatMul and Add": ("g = MatMul(x, wt) h = Add(b, g) r = Relu(h) i = MatMul(r, vt) y = Add(c, i)", ALL),
    "normalized": (
        "l = LayerNormalization(x, n) g = MatMul(l, wt) h = Add(g, b) s = Erf(h) r = Mul(h, s) y = MatMul(r, vt)",
        ALL,
    ),
}


@pytest.mark.parametrize(("lines", "wanted"), FLAT.values(), ids=FLAT.keys())
def test_takes_rows_out(lines: str, wanted: dict[str, int]) -> None:
    found = ready(lines, "float[N, 6] x", "float[N, 4] y", **WEIGHTS)
    assert channels(eliminate(found, {"x": ROWS})) == wanted
    shapes = [tuple(v.shape or ()) for v in found.graph.initializers.values()]
    assert (4, 4) in shapes


def test_all_positions_of_a_channel_go_from_behind_a_flatten() -> None:
    lines = "h = Conv(x, w, b) r = Relu(h) f = Flatten(r) y = MatMul(f, u)"
    found = ready(lines, "float[2, 3, 9, 8] x", "float[2, 4] y", **WEIGHTS)
    assert channels(eliminate(found, {"x": IMAGE})) == {"zero": 1, "constant": 1, "duplicate": 1}
    assert (5 * 7 * 6, 4) in [tuple(v.shape or ()) for v in found.graph.initializers.values()]


def test_a_unit_of_a_residual_connection_goes_only_if_all_its_producers_agree() -> None:
    one_sided = {**WEIGHTS, "w2": random(C, 3, 3, 3, seed=30)}
    found = ready(IMAGES["residual, both silent"][0], X, Y, **one_sided)
    assert channels(eliminate(found, {"x": IMAGE})) == {"unread": 1}


def test_a_unit_that_one_of_two_readers_needs_stays() -> None:
    busy = {**WEIGHTS, "k4": random(4, C, 1, 1, seed=31), "w": random(C, 3, 3, 3), "b": random(C)}
    found = ready("h = Conv(x, w, b) r = Relu(h) i = Conv(r, v) j = Conv(r, k4) y = Add(i, j)", X, Y, **busy)
    assert not eliminate(found, {"x": IMAGE}).modified


def test_channels_that_nearly_do_nothing_stay() -> None:
    w, v = WEIGHTS["w"].copy(), WEIGHTS["v"].copy()
    w[1, 0, 0, 0] = w[2, 0, 0, 0] = 1e-6
    w[5, 0, 0, 0] = np.nextafter(w[5, 0, 0, 0], np.float32(9))
    v[0, 3] = 1e-6
    found = ready(IMAGES["plain"][0], X, Y, **{**WEIGHTS, "w": w, "v": v})
    assert not eliminate(found, {"x": IMAGE}).modified


def test_bounds_prove_a_channel_silent_that_has_weights() -> None:
    w = np.abs(random(C, 3, 1, 1, seed=32))
    w[0] *= -1
    b = np.zeros(C, np.float32)
    found = ready("s = Sigmoid(x) h = Conv(s, w, b) r = Relu(h) y = Conv(r, v)", X, Y, **{**WEIGHTS, "w": w, "b": b})
    result = eliminate(found, {"x": IMAGE})
    assert channels(result) == {"zero": 1, "unread": 1}
    assert {d.why for d in result.details} == {"zero for all inputs", "nothing reads it"}


def test_a_clamp_may_be_all_that_is_left() -> None:
    b = random(C, seed=33)
    b[6] = 9
    w = random(C, 3, 1, 1, seed=34)
    found = ready(
        "s = Tanh(x) h = Conv(s, w, b) r = Clip(h, none, six) y = Conv(r, v)",
        X,
        Y,
        **{
            **WEIGHTS,
            "w": w * np.float32(0.1),
            "b": b,
            "none": np.array(0, np.float32),
            "six": np.array(6, np.float32),
        },
    )
    assert channels(eliminate(found, {"x": IMAGE}))["constant"] >= 1


CENTRE = random(4, C, 3, 3, seed=35)
CENTRE[:, 2] = 0
CENTRE[:, 2, 1, 1] = 1


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 1, 0, 0]])
def test_padding_that_meets_no_weight_of_a_constant_channel_is_no_hindrance(pads: list[int]) -> None:
    lines = f"h = Conv(x, w, b) r = Relu(h) y = Conv<pads = {pads}>(r, v3, c)"
    found = ready(lines, X, Y, **{**WEIGHTS, "v3": CENTRE})
    assert channels(eliminate(found, {"x": IMAGE})) == {"zero": 1, "constant": 1, "duplicate": 1}


def test_a_fold_that_forgets_the_padding_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(biases, "padded_taps", lambda node, kernel: np.zeros(kernel, bool))
    found = ready(IMAGES["a constant meets padding"][0], X, Y, **WEIGHTS)
    with pytest.raises(AssertionError):
        eliminate(found, {"x": IMAGE})


def test_says_what_stays() -> None:
    padded = ready(IMAGES["a constant meets padding"][0], X, Y, **WEIGHTS)
    assert [s.reason for s in eliminate(padded, {"x": IMAGE}).skips] == ["constant channels that no bias can take over"]
    silent = ready(IMAGES["a bias of zero"][0], X, Y, **{**WEIGHTS, "w": np.zeros_like(WEIGHTS["w"])})
    result = eliminate(silent, {"x": IMAGE})
    assert [s.reason for s in result.skips] == ["all channels do nothing; one stays, as an axis cannot be empty"]
    assert channels(result) == {"unread": 1, "zero": 6}


@pytest.mark.parametrize("name", ["w", "b", "v"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_left_alone(name: str, bad: float) -> None:
    broken = WEIGHTS[name].copy()
    broken.flat[0] = bad
    found = ready(IMAGES["plain"][0], X, Y, **{**WEIGHTS, name: broken})
    result = EliminateDeadChannels()(found)
    assert not result.modified
    assert [s.reason for s in result.skips] == ["weights are not finite"]


@pytest.mark.parametrize(("multiple", "left"), [(1, 4), (2, 4), (3, 6), (4, 4), (5, 5), (8, 8), (16, 8)])
def test_keeps_a_multiple(multiple: int, left: int) -> None:
    found = ready(IMAGES["plain"][0], X, Y, **WEIGHTS)
    result = eliminate(found, {"x": IMAGE}, multiple)
    weight = next(node.inputs[1] for node in found.graph if node.op_type == "Conv")
    assert weight is not None and weight.shape is not None and weight.shape[0] == left
    assert bool(result.skips) == (left > 4)


def test_removals_leave_channels_before_them_without_a_reader() -> None:
    first, second = random(6, 3, 1, 1, seed=36), random(C, 6, 1, 1, seed=37)
    second[:, 4] = 0
    second[3, 4] = 1  # only channel 3 of the second reads channel 4 of the first, and nothing reads channel 3
    found = ready(
        "h = Conv(x, w) r = Relu(h) i = Conv(r, w2) s = Relu(i) y = Conv(s, v)",
        X,
        Y,
        **{**WEIGHTS, "w": first, "w2": second},
    )
    assert channels(eliminate(found, {"x": IMAGE})) == {"unread": 2}


def test_counts_macs_and_bytes() -> None:
    found = ready(IMAGES["plain"][0], "float[2, 3, 9, 8] x", "float[2, 4, 7, 6] y", **WEIGHTS)
    result = eliminate(found, {"x": IMAGE})
    assert result.counts["MACs saved"] == 2 * 7 * 6 * 4 * (27 + 4)
    assert result.counts["bytes saved"] == 4 * 4 * (27 + 1 + 4)


def test_readers_of_one_initializer_may_keep_different_parts_of_it() -> None:
    lines = (
        "h = Conv(x, w, b) r = Relu(h) i = Conv(r, v, c) z = Sigmoid(x) j = Conv(z, w, b) p = Conv(j, v4) y = Add(i, p)"
    )
    found = ready(lines, X, Y, **{**WEIGHTS, "v4": random(4, C, 1, 1, seed=38)})
    eliminate(found, {"x": IMAGE})
    rows_left = sorted(elements(found, n).shape[0] for n in found.graph.initializers if n.startswith("w"))
    assert rows_left == [4, 5]


def test_graph_outputs_stay_whole() -> None:
    found = ready("h = Conv(x, w, b) y = Relu(h)", X, "float[N, 8, H, V] y", **WEIGHTS)
    assert not eliminate(found, {"x": IMAGE}).modified


def test_a_product_that_is_a_graph_output_keeps_its_name() -> None:
    found = ready(
        "h = Gemm<transB = 1>(x, wg, b) r = Relu(h) y = MatMul(r, vt)", "float[N, 6] x", "float[N, 4] y", **WEIGHTS
    )
    assert channels(eliminate(found, {"x": ROWS})) == ALL
    assert [v.name for v in found.graph.outputs] == ["y"]
    assert [node.op_type for node in found.graph] == ["Gemm", "Relu", "MatMul", "Add"]


def test_what_a_subgraph_reads_stays() -> None:
    lines = (
        "h = Conv(x, w, b) r = Relu(h) m = ReduceMax<keepdims = 0>(r) z = Cast<to = 9>(m) "
        "y = If(z) <then_branch = a () => (float[A, B, D, E] p) { p = Relu(r) }, "
        "else_branch = o () => (float[A, B, D, E] q) { q = Neg(r) }>"
    )
    assert not eliminate(ready(lines, X, "float[A, B, D, E] y", **WEIGHTS), {"x": IMAGE}).modified


def test_a_dynamic_batch_and_close_by_the_verifier() -> None:
    found = ready(IMAGES["plain"][0], "float[N, 3, H, V] x", Y, **WEIGHTS)
    verifier = Verifier(load_unoptimized, found.clone(), [{"x": random(n, 3, 7, 9, seed=n)} for n in (1, 3)])
    assert EliminateDeadChannels()(found).modified
    assert verifier.check(found, Contract.CLOSE).ok


@pytest.mark.parametrize("seed", range(100, 116))
def test_random_graphs_with_planted_channels(seed: int) -> None:
    found = random_graph(seed)
    plant(found.model, np.random.default_rng(seed))
    wanted = run(found.model, found.feeds)
    EliminateDeadChannels()(found.model)
    check(found.model)
    assert difference(wanted, run(found.model, found.feeds)) < 1e-5  # normwise; some of them are ill-conditioned
    assert not EliminateDeadChannels()(found.model).modified
