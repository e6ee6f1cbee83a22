"""Layers of low rank in real graphs: what is replaced, what is left alone, and who decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.macs import macs_of
from tamis.compiler.graph_pass import Contract, PassContext, PassResult
from tamis.compiler.judge import Judge
from tamis.compiler.machine import find_machine
from tamis.compiler.paired_drop import Drop
from tamis.compiler.recipe import AccuracyBudget
from tamis.compiler.registry import runtime_class
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.target import Target
from tamis.compiler.timings import Comparison
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import Verifier
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.pruning.factorize_layers import OVER_BUDGET, FactorizeLayers, Options
from tamis.passes.pruning.low_rank.layer_forms import NO_FASTER, NO_SMALLER
from tests.models import Array, check, elements, model, op_types, random, run


def low_rank(rows: int, columns: int, rank: int, noise: float = 0.0, seed: int = 0) -> Array:
    """A matrix of a low rank, and a little more."""
    product = random(rows, rank, seed=seed) @ random(rank, columns, seed=seed + 1) / np.sqrt(rank)
    found: Array = (product + noise * random(rows, columns, seed=seed + 2)).astype(np.float32)
    return found


def kernels(outputs: int, channels: int, rank: int, size: int = 3) -> Array:
    """A convolution whose channels, in and out, have a low rank."""
    core = random(rank, rank, size, size, seed=3)
    found: Array = np.einsum("or,rskl,sc->ockl", random(outputs, rank), core, random(rank, channels, seed=4))
    return (found / rank).astype(np.float32)


def factorize(found: ir.Model, context: PassContext | None = None, **options: Any) -> PassResult:
    infer_shapes(found)
    chosen = Options(**{"min_elements": 1, "multiple": 4, "energies": (0.9999,), **options})
    result = FactorizeLayers(chosen)(found, context or PassContext())
    assert result.modified == bool(result.counts)
    check(found)
    return result


MATMUL = "g (float[B, 5, 40] x) => (float[B, 5, 24] y) { y = MatMul(x, w) }"
GEMM = "g (float[5, 40] x) => (float[5, 24] y) { y = Gemm<alpha = 0.5, beta = 2.0, transB = TB>(x, w, b) }"
CONV = "g (float[2, 16, 9, 8] x) => (float[2, 24, P, Q] y) { y = Conv<ATTRIBUTES>(x, w, b) }"


def assert_near(wanted: list[Array], found: list[Array], share: float = 1e-4) -> None:
    for a, b in zip(wanted, found, strict=True):
        assert np.linalg.norm(a - b) <= share * np.linalg.norm(a)


@pytest.mark.parametrize("samples", [False, True])
def test_matmul(samples: bool) -> None:
    found = model(MATMUL, w=low_rank(40, 24, 4))
    x = random(2, 5, 40, seed=9)
    wanted = run(found, {"x": x})
    result = factorize(found, PassContext(samples=(lambda: iter([{"x": x}])) if samples else None))
    assert result.counts["layers factorized"] == 1
    assert op_types(found) == ["MatMul", "MatMul"]
    assert {elements(found, name).shape for name in found.graph.initializers} == {(40, 4), (4, 24)}
    assert_near(wanted, run(found, {"x": x}))
    assert [(d.got, d.why) for d in result.details] == [
        ("rank 4", "nearest in output on the samples" if samples else "nearest in weight")
    ]


@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int, samples: bool) -> None:
    w = low_rank(40, 24, 4)
    found = model(GEMM.replace("TB", str(transposed)), w=np.ascontiguousarray(w.T) if transposed else w, b=random(24))
    x = random(5, 40, seed=9) + 3
    wanted = run(found, {"x": x})
    factorize(found, PassContext(samples=(lambda: iter([{"x": x}])) if samples else None))
    assert op_types(found) == ["MatMul", "Gemm"]
    assert_near(wanted, run(found, {"x": x}))


CONVS = {
    "1x1": ("kernel_shape=[1, 1]", 1),
    "1x1 with strides and borders": ("pads=[1, 0, 2, 1], strides=[2, 1]", 1),
    "3x3": ("pads=[1, 1, 1, 1], kernel_shape=[3, 3]", 3),
    "3x3 with all": ("pads=[2, 0, 1, 1], strides=[2, 1], dilations=[2, 1]", 3),
    "same": ('auto_pad="SAME_UPPER", strides=[2, 2]', 3),
}


@pytest.mark.parametrize("tucker", [False, True])
@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.parametrize(("attributes", "size"), CONVS.values(), ids=CONVS.keys())
def test_convolutions(attributes: str, size: int, samples: bool, tucker: bool) -> None:
    found = model(CONV.replace("ATTRIBUTES", attributes), w=kernels(24, 16, 4, size), b=random(24))
    feeds = [{"x": random(2, 16, 9, 8, seed=20 + i) + 1} for i in range(4)]
    wanted = run(found, feeds[0])
    result = factorize(found, PassContext(samples=(lambda: iter(feeds)) if samples else None), tucker=tucker)
    assert op_types(found) == ["Conv"] * (3 if tucker and size == 3 else 2)
    assert [d.got for d in result.details] == ["rank 4 and 4" if tucker and size == 3 else "rank 4"]
    assert_near(wanted, run(found, feeds[0]))


BIASED = {
    "Conv": ("g (float[2, 16, 9, 8] x) => (float[2, 24, 9, 8] y) { y = Conv(x, w) }", (24, 16, 1, 1)),
    "Conv with bias": ("g (float[2, 16, 9, 8] x) => (float[2, 24, 9, 8] y) { y = Conv(x, w, b) }", (24, 16, 1, 1)),
    "Gemm": ("g (float[32, 16] x) => (float[32, 24] y) { y = Gemm<alpha=2.0, transB=1>(x, w) }", (24, 16)),
    "Gemm with bias": (
        "g (float[32, 16] x) => (float[32, 24] y) { y = Gemm<alpha=2.0, beta=0.5, transB=1>(x, w, b) }", (24, 16)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("graph", "shape"), BIASED.values(), ids=BIASED.keys())
def test_the_mean_of_the_outputs_goes_into_the_bias(graph: str, shape: tuple[int, ...]) -> None:
    x = random(*((32, 16) if len(shape) == 2 else (2, 16, 9, 8)), seed=20) + 5
    axes = (0,) if len(shape) == 2 else (0, 2, 3)
    weights = {"w": low_rank(24, 16, 4, 0.2).reshape(shape)} | ({"b": random(24)} if ", b)" in graph else {})
    errors = {}
    for samples in (False, True):
        found = model(graph, w=weights["w"], **{name: a for name, a in weights.items() if name == "b"})
        (wanted,) = run(found, {"x": x})
        factorize(found, PassContext(samples=(lambda: iter([{"x": x}])) if samples else None), ratio=0.5)
        (got_,) = run(found, {"x": x})
        errors[samples] = float(np.linalg.norm(wanted - got_))
    np.testing.assert_allclose(wanted.mean(axis=axes), got_.mean(axis=axes), atol=1e-3)
    assert len(found.graph[1].inputs) == 3
    assert errors[True] < 0.5 * errors[False]


def test_names_outputs_and_counts_stay_honest() -> None:
    graph = "g (float[3, 40] x) => (float[3, 24] t, float[3, 24] y) { [layer] t = MatMul(x, w)\n y = Relu(t) }"
    found = model(graph, w=low_rank(40, 24, 4))
    infer_shapes(found)
    before = sum(macs_of(n) or 0 for n in found.graph)
    result = factorize(found)
    infer_shapes(found)
    assert before - sum(macs_of(n) or 0 for n in found.graph) == result.counts["multiplications saved"]
    assert [n.name for n in found.graph][:2] == ["layer_thin", "layer"]
    assert [v.name for v in found.graph.outputs] == ["t", "y"]


NEAR_MISSES = {
    "dynamic weight": ("y = MatMul(x, v)", "weight is not constant"),
    "not finite": ("y = MatMul(x, nan)", "weight is empty or not finite"),
    "shared weight": ("a = MatMul(x, w)\n z = Neg(w)\n b = MatMul(x, z)\n y = Add(a, b)", "something else reads the weight"),
    "transposed input": ("t = Transpose<perm=[1, 0]>(x)\n y = Gemm<transA=1>(t, w)", "first input of Gemm is transposed"),
    "vector": ("i = Constant<value_ints=[0]>()\n t = Gather(x, i)\n r = Squeeze(t, i)\n y = MatMul(r, w)",
               "rank of the input is unknown, or it is a vector"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_stay(body: str, reason: str) -> None:
    shape = "24" if "Squeeze" in body else "3, 24"
    weights = {"w": low_rank(40, 24, 4), "nan": np.full((40, 24), np.nan, np.float32)}
    used = {name: array for name, array in weights.items() if f", {name})" in body or f"({name})" in body}
    found = model(f"g (float[3, 40] x, float[40, 24] v) => (float[{shape}] y) {{ {body} }}", **used)
    result = factorize(found)
    assert not result.modified and reason in [s.reason for s in result.skips]


def test_groups_are_left_alone() -> None:
    graph = "g (float[1, 16, 5, 5] x) => (float[1, 24, 5, 5] y) { y = Conv<group=2>(x, w) }"
    result = factorize(model(graph, w=random(24, 8, 1, 1)))
    assert [s.reason for s in result.skips] == ["convolution in groups"]


def test_full_rank_is_no_smaller() -> None:
    found = model(MATMUL, w=random(40, 24))
    result = factorize(found)
    assert not result.modified
    assert [(d.got, d.why) for d in result.details] == [("whole", NO_SMALLER)]


def test_min_speedup_counts_multiplications_without_a_target() -> None:
    assert not factorize(model(MATMUL, w=low_rank(40, 24, 8)), min_speedup=3).modified
    assert factorize(model(MATMUL, w=low_rank(40, 24, 8)), min_speedup=1.5).modified


def test_excluded_and_small_layers_stay() -> None:
    graph = "g (float[3, 40] x) => (float[3, 24] y) { [head] y = MatMul(x, w) }"
    for options, reason in (
        ({"exclude": ("h*",)}, "matched by exclude"),
        ({"include": ("body*",)}, "not matched by include"),
        ({"min_elements": 961}, "weight has fewer elements than min_elements"),
    ):
        assert [s.reason for s in factorize(model(graph, w=low_rank(40, 24, 4)), **options).skips] == [reason]


NETWORK = """g (float[1, 32, 8, 8] x) => (float[1, 32, 8, 8] y)
    <float[1, 32, 8, 8] a, float[1, 32, 8, 8] r, float[1, 32, 8, 8] b, float[1, 32, 8, 8] s> {
        [first] a = Conv(x, wa)\n r = Relu(a)\n [second] b = Conv(r, wb)\n s = Relu(b)\n [third] y = Conv(s, wc)
}"""


def network() -> ir.Model:
    """Three layers; the second loses most if it becomes thin, the first least."""
    weights = {
        name: low_rank(32, 32, 4, noise, seed=i).reshape(32, 32, 1, 1)
        for i, (name, noise) in enumerate((("wa", 0.01), ("wb", 0.3), ("wc", 0.05)))
    }
    found = model(NETWORK, 17, **weights)
    infer_shapes(found)
    return found


@dataclass(frozen=True)
class GivenTimes(Judge):
    """A judge that times by multiplications, or finds the second model always slower."""

    slower: bool = False
    noisy: bool = False
    drops: Callable[[ir.Model], float] = lambda model: 0.0
    timed: list[tuple[int, int]] = field(default_factory=list)

    def drop_meter(self, reference: ir.Model, seed: int = 0) -> Callable[[ir.Model, float], Drop]:
        return lambda model, limit: Drop(self.drops(model), 0.0, 100)

    def legalized(self, model: ir.Model) -> ir.Model:
        return model  # padding, for one, depends on the machine

    def rough_speedup(self, before: ir.Model, after: ir.Model, seconds: float = 1.0) -> Comparison:
        for each in (before, after):
            check(each)
            run(each, self.feeds)
            infer_shapes(each)
        a, b = (sum(macs_of(node) or 0 for node in each.graph) for each in (before, after))
        self.timed.append((a, b))
        ratio = 0.8 if self.slower else a / b
        verdict: Any = "slower" if ratio < 1 else "undecided" if self.noisy else "faster"
        return Comparison(ratio, ratio, ratio, ratio, ratio, ratio, 0.0, verdict, (a,), (b,), (a,), (b,), 1, 1)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Callable[..., tuple[GivenTimes, PassContext]]]:
    feeds = [{"x": random(1, 32, 8, 8, seed=50 + i)} for i in range(3)]
    target = Target("host", find_machine("host"), runtime_class("onnxruntime")())
    verifier = Verifier(load_unoptimized, network(), feeds)
    with TuningDatabase(tmp_path / "tuning.sqlite") as database:

        def build(**budget: Any) -> tuple[GivenTimes, PassContext]:
            planted = {name: budget.pop(name) for name in ("slower", "noisy", "drops") if name in budget}
            judge = GivenTimes(
                target, verifier, feeds[0], AccuracyBudget(**budget), None, None, database, True, **planted
            )
            return judge, PassContext(target=target, samples=lambda: iter(feeds), judge=judge)

        yield build


def got(result: PassResult) -> dict[str, str]:
    return {detail.place: detail.got for detail in result.details}


@pytest.mark.parametrize("planted", ["slower", "noisy"])
def test_what_is_not_surely_faster_stays_whole(context: Any, planted: str) -> None:
    judge, given = context(min_sqnr=0.0, **{planted: True})
    found = network()
    result = factorize(found, given, ratio=0.4)
    assert judge.timed and not result.modified
    assert {d.why for d in result.details} == {NO_FASTER}
    assert op_types(found) == op_types(network())


def test_layers_are_timed_between_neighbours_and_once_for_each_form(context: Any) -> None:
    judge, given = context(min_sqnr=0.0)
    result = factorize(network(), given, ratio=0.4)
    assert got(result) == dict.fromkeys(("first", "second", "third"), "rank 4")
    around = 64 * (4 * 32 + 32 * 4)
    assert judge.timed == [(64 * 32 * 32 + around, 64 * 2 * 32 * 4 + around)]
    again, given = context(min_sqnr=0.0)
    assert got(factorize(network(), given, ratio=0.4)) == got(result) and not again.timed


def test_the_noise_budget_decides_how_many(context: Any) -> None:
    wanted = {0.0: ("rank 4", "rank 4"), 15.0: ("rank 4", "whole"), 60.0: ("whole", "whole")}
    for limit, (others, second) in wanted.items():
        found = network()
        judge, given = context(min_sqnr=limit)
        result = factorize(found, given, ratio=0.4)
        assert got(result) == {"first": others, "second": second, "third": others}
        assert judge.verifier.check(found, Contract.LOSSY).sqnr_db >= limit


def test_the_drop_budget_decides_how_many(context: Any) -> None:
    def drops(candidate: ir.Model) -> float:
        return 0.02 * sum(n.name in ("first_thin", "third_thin") for n in candidate.graph)

    result = factorize(network(), context(max_drop=0.02, min_sqnr=-50.0, drops=drops)[1], ratio=0.4)
    assert result.counts["layers factorized"] == 2 and got(result)["second"] == "rank 4"
    assert [d.why for d in result.details if d.got == "whole"] == [OVER_BUDGET]


def test_the_budget_chooses_among_ranks(context: Any) -> None:
    energies = {"energies": (0.99, 0.9), "include": ("second",), "min_speedup": 1.0}
    ranks = [got(factorize(network(), context(min_sqnr=limit)[1], **energies)) for limit in (3.0, 15.0, 60.0)]
    sizes = [int(each["second"].removeprefix("rank ")) if each["second"] != "whole" else 32 for each in ranks]
    assert sizes == sorted(sizes) and sizes[0] < sizes[1] < sizes[2]


def test_layers_are_really_timed(context: Any) -> None:
    judge, given = context(min_sqnr=0.0)
    real = Judge(**{f: getattr(judge, f) for f in Judge.__dataclass_fields__})
    result = factorize(network(), replace(given, judge=real), ratio=0.4)
    assert all(detail.figures["speedup"] > 0 for detail in result.details)


def test_sizes_that_are_not_known_are_observed(context: Any) -> None:
    found = model("g (float[1, 32, N, M] x) => (float[1, 32, N, M] y) { y = Conv(x, w) }", w=elements(network(), "wa"))
    judge, given = context(min_sqnr=-100.0)
    factorize(found, given, ratio=0.4)
    assert judge.timed[0][0] == 64 * (32 * 32 + 2 * 4 * 32)


def test_samples_that_are_not_finite_are_left_out() -> None:
    found = model(MATMUL, w=low_rank(40, 24, 4))
    x = np.full((1, 5, 40), np.inf, np.float32)
    result = factorize(found, PassContext(samples=lambda: iter([{"x": x}])))
    assert [d.why for d in result.details] == ["nearest in weight"]
