"""Sparse weights in real graphs: the pattern along the input channels, shared weights, what is left alone."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pydantic import ValidationError

from tamis.compiler.errors import PostconditionError, PreconditionError
from tamis.compiler.graph_pass import PassContext, PassResult
from tamis.passes.pruning.sparsify_weights import HAS_PATTERN, Options, SparsifyWeights
from tests.models import Array, check, elements, model, op_types, random, run

W = random(40, 8, seed=1)
MATMUL = "g (float[N, 40] x) => (float[N, 8] y) { t = Relu(x)\n [layer] y = MatMul(t, w) }"
X = random(64, 4, seed=5) @ random(4, 40, seed=6) + 0.1 * random(64, 40, seed=7)


def sparsify(found: ir.Model, *samples: Array, **options: Any) -> PassResult:
    """Run the pass twice: the model stays valid, and the second run finds nothing to do."""
    chosen = Options(**{"min_elements": 1, **options})
    context = PassContext(samples=(lambda: ({"x": x} for x in samples)) if samples else None)
    before = op_types(found)
    result = SparsifyWeights(chosen)(found, context)
    check(found)
    assert op_types(found) == before and result.modified == bool(result.counts)
    again = SparsifyWeights(chosen)(found, context)
    assert not again.modified and len(again.skips) == len(result.skips) + result.counts.get("layers made sparse", 0)
    return result


def two_of_four(channels_last: Array) -> bool:
    """Whether of each four neighbours along the last axis exactly two are zero."""
    return bool((np.count_nonzero(channels_last.reshape(-1, 4), axis=1) == 2).all())


@pytest.mark.parametrize("criterion", ["magnitude", "wanda", "obs"])
def test_two_of_four_lie_along_the_input(criterion: str) -> None:
    found = model(MATMUL, w=W)
    result = sparsify(found, X, pattern="2:4", criterion=criterion)
    assert two_of_four(elements(found, "w").T)
    assert result.counts["weights set to zero"] == 160
    assert [(d.place, d.got, d.why) for d in result.details] == [("layer", "2:4", f"by {criterion}")]
    assert result.details[0].figures["zeros"] == 0.5


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    graph = f"g (float[64, 40] x) => (float[64, 8] y) {{ t = Relu(x)\n y = Gemm<transB = {transposed}>(t, w) }}"
    found = model(graph, w=np.ascontiguousarray(W.T) if transposed else W)
    sparsify(found, X, pattern="2:4")
    assert two_of_four(elements(found, "w") if transposed else elements(found, "w").T)


@pytest.mark.parametrize("group", [1, 2])
def test_convolution(group: int) -> None:
    graph = f"g (float[1, 16, 9, 9] x) => (float[1, 12, 9, 9] y) {{ y = Conv<pads=[1, 1, 1, 1], group={group}>(x, w) }}"
    found = model(graph, w=random(12, 16 // group, 3, 3))
    x = random(1, 16, 9, 9, seed=3)
    wanted = run(found, {"x": x})
    sparsify(found, x, pattern="2:4")
    assert two_of_four(np.moveaxis(elements(found, "w"), 1, -1))
    assert np.linalg.norm(wanted[0] - run(found, {"x": x})[0]) < 0.6 * np.linalg.norm(wanted[0])


def test_the_outputs_suffer_less_by_obs_than_by_magnitude() -> None:
    errors = {}
    for criterion in ("magnitude", "wanda", "obs"):
        found = model(MATMUL, w=W)
        wanted = run(found, {"x": X})
        result = sparsify(found, X[:32], X[32:], criterion=criterion)
        error = float(np.linalg.norm(wanted[0] - run(found, {"x": X})[0]) / np.linalg.norm(wanted[0]))
        if criterion != "magnitude":
            assert result.details[0].figures["error"] == pytest.approx(error**2, rel=1e-3)
        errors[criterion] = error
    assert errors["obs"] < 0.5 * errors["wanda"] < 0.5 * errors["magnitude"]


def test_counts_tell_the_size_under_zlib() -> None:
    found = model(MATMUL, w=W)
    counts = sparsify(found, criterion="magnitude", sparsity=0.75).counts
    assert counts["bytes under zlib before"] == len(zlib.compress(W.tobytes()))
    assert counts["bytes under zlib after"] == len(zlib.compress(elements(found, "w").tobytes()))
    assert counts["bytes under zlib after"] < 0.6 * counts["bytes under zlib before"]
    assert np.count_nonzero(elements(found, "w") == 0) == 240


def test_a_shared_weight_is_looked_at_once() -> None:
    graph = "g (float[N, 16] x) => (float[N, 16] y) { a = MatMul(x, w)\n t = Relu(a)\n y = MatMul(t, w) }"
    found = model(graph, w=random(16, 16))
    result = sparsify(found, random(30, 16, seed=4), pattern="2:4")
    assert result.counts["layers made sparse"] == 2 and len(found.graph.initializers) == 1
    assert two_of_four(elements(found, "w").T)


NEAR_MISSES = {
    "dynamic weight": ("g (float[N, 40] x, float[40, 8] v) => (float[N, 8] y) { y = MatMul(x, v) }",
                       "weight is not constant"),
    "not finite": ("g (float[N, 40] x) => (float[N, 8] y) { y = MatMul(x, nan) }", "weight is empty or not finite"),
    "another reader": ("g (float[N, 40] x) => (float[N, 8] y, float[40, 8] z) { y = MatMul(x, w)\n z = Neg(w) }",
                       "something else reads the weight"),
    "another form": ("g (float[5, 8] x) => (float[5, 8] y) { a = MatMul(x, s)\n y = Gemm<transB=1>(a, s) }",
                     "something else reads the weight"),
    "depthwise": ("g (float[1, 12, 9, 9] x) => (float[1, 12, 7, 7] y) { y = Conv<group=12>(x, d) }",
                  "depthwise convolution"),
    "odd channels": ("g (float[1, 6, 9, 9] x) => (float[1, 12, 7, 7] y) { y = Conv(x, c) }",
                     "input channels are no multiple of 4"),
}  # fmt: skip


@pytest.mark.parametrize(("graph", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_stay(graph: str, reason: str) -> None:
    weights = {
        "w": W, "nan": np.full((40, 8), np.nan, np.float32), "s": random(8, 8),
        "d": random(12, 1, 3, 3), "c": random(12, 6, 3, 3),
    }  # fmt: skip
    used = {name: array for name, array in weights.items() if f", {name})" in graph}
    result = sparsify(model(graph, **used), pattern="2:4", criterion="magnitude")
    assert not result.modified and {s.reason for s in result.skips} == {reason}


def test_sparse_excluded_and_small_weights_stay() -> None:
    ready = np.array([1, 0, 0, 2] * 10, np.float32)[:, None] * np.ones((1, 8), np.float32)
    for weight, options, reason in (
        (ready, {}, HAS_PATTERN),
        (W, {"min_elements": 321}, "weight has fewer elements than min_elements"),
        (W, {"exclude": ("lay*",)}, "matched by exclude"),
        (W, {"include": ("body*",)}, "not matched by include"),
    ):
        result = sparsify(model(MATMUL, w=weight), pattern="2:4", criterion="magnitude", **options)
        assert [s.reason for s in result.skips] == [reason] and not result.modified


def test_samples_that_are_not_finite_fall_back_to_magnitude() -> None:
    found, other = model(MATMUL, w=W), model(MATMUL, w=W)
    result = sparsify(found, np.full((1, 40), np.inf, np.float32), pattern="2:4")
    assert [d.why for d in result.details] == ["by magnitude"]
    sparsify(other, pattern="2:4", criterion="magnitude")
    np.testing.assert_array_equal(elements(found, "w"), elements(other, "w"))


def test_samples_are_needed_where_inputs_are_looked_at() -> None:
    with pytest.raises(PreconditionError, match=r"criterion: magnitude"):
        SparsifyWeights()(model(MATMUL, w=W))
    assert SparsifyWeights().wants_samples() and not SparsifyWeights(Options(criterion="magnitude")).wants_samples()


def test_a_broken_pattern_is_noticed() -> None:
    """``ensures`` looks at the weights, not at what ``call`` says."""
    step = SparsifyWeights(Options(pattern="2:4", criterion="magnitude", min_elements=1))
    found = model(MATMUL, w=W)
    step(found)
    step.ensures(found, PassContext())
    broken = elements(found, "w").copy()
    broken[np.flatnonzero(broken[:, 0] == 0)[0], 0] = 1e-20
    found.graph.initializers["w"].const_value = ir.tensor(broken, name="w")
    with pytest.raises(PostconditionError, match="2:4"):
        step.ensures(found, PassContext())


@pytest.mark.parametrize("pattern", ["4:4", "5:4", "2-4", "0:4", ""])
def test_patterns_that_make_no_sense_are_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Options(pattern=pattern)
