"""Latency, measured on this machine; only what noise cannot turn round is asserted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from tamis.compiler.errors import PreconditionError
from tamis.compiler.judge import Judge
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import runtime_class
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.target import Target
from tamis.compiler.timings import Comparison
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import Verifier
from tamis.passes.pruning.allocation import latency_cost
from tamis.passes.pruning.allocation.latency_cost import measure_latency, pruned_clone, speedup_of
from tamis.passes.pruning.allocation.widths import widths_of
from tests import models
from tests.models import random
from tests.passes.pruning.allocation.allocation_nets import axis_graph


def network() -> ir.Model:
    """Convolutions that take a millisecond or so."""
    return models.model(
        """g (float[1, 3, 48, 48] x) => (float[1, 10] y) {
            a = Conv<pads=[1, 1, 1, 1]>(x, w0) ar = Relu(a)
            b = Conv<pads=[1, 1, 1, 1]>(ar, w1) br = Relu(b)
            c = Conv<pads=[1, 1, 1, 1]>(br, w2) cr = Relu(c)
            p = GlobalAveragePool(cr) f = Flatten(p) y = Gemm<transB=1>(f, w3) }""",
        w0=random(64, 3, 3, 3), w1=random(64, 64, 3, 3), w2=random(64, 64, 3, 3), w3=random(10, 64),
    )  # fmt: skip


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Judge]:
    runtime = runtime_class("onnxruntime")
    target = Target("host", find_machine("host"), runtime(runtime.options_type.model_validate({"threads": 1})))
    feeds = {"x": random(1, 3, 48, 48)}
    with TuningDatabase(tmp_path / "tuning.sqlite") as database:
        verifier = Verifier(load_unoptimized, network(), [feeds])
        yield Judge(target, verifier, feeds, None, None, None, database, quiet=True)


def test_measured(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_cost, "PROFILE_SECONDS", 0.03)
    monkeypatch.setattr(latency_cost, "COMPARE_SECONDS", 0.1)
    model = network()
    graph = axis_graph(model)
    seen: list[float] = []
    cost = measure_latency(graph, model, judge, multiple=16, count=6, progress=lambda done, _: seen.append(done))
    assert seen == pytest.approx([i / 6 for i in range(1, 7)])
    half = {group: group.units // 2 for group in graph.groups}
    ratio = cost.whole(half) / cost.whole({})
    compared = judge.rough_speedup(model, pruned_clone(graph, model, half, 0), 0.1)
    assert ratio * speedup_of(compared) == pytest.approx(1, rel=0.5)
    saved = [cost.savings({}, group, group.units - widths_of(group, 16)[1]) for group in graph.groups]
    assert min(saved) >= 0 and sum(saved) > 0
    assert [cost.savings({}, group, 1) for group in graph.groups] == [0.0] * len(graph.groups)


def test_a_runtime_that_cannot_time_steps_is_refused(judge: Judge) -> None:
    class Tuned(runtime_class("onnxruntime")):  # type: ignore[misc]
        measures_steps = False

    other = replace(judge, target=replace(judge.target, runtime=Tuned()))
    model = network()
    with pytest.raises(PreconditionError, match="macs or size"):
        measure_latency(axis_graph(model), model, other, multiple=8)


def compared(wall: tuple[float, float, float], cpu: tuple[float, float, float]) -> Comparison:
    return Comparison(*wall, *cpu, 0.0, "undecided", (), (), (), (), 1, 1)


def test_cpu_time_counts_where_the_machine_is_busy() -> None:
    assert speedup_of(compared((1.5, 1.45, 1.55), (1.4, 1.39, 1.41))) == 1.5
    assert speedup_of(compared((1.5, 0.9, 2.5), (1.4, 1.3, 1.5))) == 1.4
    assert speedup_of(compared((1.5, 1.2, 1.8), (1.4, 0.8, 2.0))) == 1.5
