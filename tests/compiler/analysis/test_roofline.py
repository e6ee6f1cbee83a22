"""The roofline: which ceiling counts, what is stored, and when it is measured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from tamis.compiler.analysis.analyse import measured_rows
from tamis.compiler.analysis.roofline import Roofline, roofline_of
from tamis.compiler.analysis.rows import by_kind
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Machine
from tamis.compiler.registry import runtime_class
from tamis.compiler.target import NodeTime
from tamis.compiler.tuning_database import TuningDatabase
from tests.models import model, random

CEILINGS = Roofline(peak=1e9, peak_int8=4e9, bandwidths=((1000, 1e9), (10_000, 5e8)))
HOST = find_machine("host")


def test_the_bandwidth_is_that_of_the_cache_that_holds_all() -> None:
    assert [CEILINGS.bandwidth(n) for n in (0, 1000, 1001, 10_000, 10**9)] == [1e9, 1e9, 5e8, 5e8, 5e8]
    assert CEILINGS.memory_ns(500) == pytest.approx(500)
    assert CEILINGS.memory_ns(5000) == pytest.approx(10_000)
    assert CEILINGS.compute_ns(60) == pytest.approx(60)
    assert CEILINGS.compute_ns(60, int8=True) == pytest.approx(15)


NET = """g (float[3, 4] x) => (float[3, 5] y) <float[3, 5] h, float[3, 5] r> {
    [product] h = MatMul(x, w)
    [rectify] r = Relu(h)
    [negate] y = Neg(r)
}"""


def test_outside_is_what_exceeds_the_larger_ceiling() -> None:
    times = [
        NodeTime("layout change", 40, ()),
        NodeTime("FusedMatMul", 500, ("product", "rectify")),
        NodeTime("Neg", 100, ("negate",)),
    ]
    rows = measured_rows(model(NET, w=random(4, 5)), times, CEILINGS)
    assert [(r.name, r.kind, r.fused) for r in rows] == [
        ("layout change", "layout change", ()),
        ("product", "MatMul", ("MatMul", "Relu")),
        ("negate", "Neg", ()),
    ]
    # 188 bytes at 1 byte a nanosecond are more than 60 MACs at 1 a nanosecond; Neg moves 120 bytes in 100 ns
    assert [r.outside for r in rows] == pytest.approx([40, 500 - 188, 0])
    assert [r.bound for r in rows] == [None, "memory", "memory"]
    assert sum(r.cost.macs or 0 for r in rows) == 60


def test_a_node_that_no_kernel_covers_keeps_its_row() -> None:
    rows = measured_rows(model(NET, w=random(4, 5)), [NodeTime("MatMul", 500, ("product",))], CEILINGS)
    assert [(r.name, r.nanoseconds, r.cost.note) for r in rows[1:]] == [
        ("rectify", 0.0, "folded into others"),
        ("negate", 0.0, "folded into others"),
    ]


def test_kinds_of_convolutions_are_told_apart_and_summed() -> None:
    found = model(
        """g (float[1, 4, 3, 3] x) => (float[1, 4, 3, 3] y) <float[1, 4, 3, 3] a, float[1, 4, 3, 3] b> {
            [one] a = Conv<group = 4, pads = [1, 1, 1, 1]>(x, D)
            [two] b = Conv(a, P)
            [three] y = Conv(b, P)
        }""",
        D=random(4, 1, 3, 3),
        P=random(4, 4, 1, 1),
    )
    times = [NodeTime("Conv", 1000 * (i + 1), (name,)) for i, name in enumerate(("one", "two", "three"))]
    rows = by_kind(measured_rows(found, times, CEILINGS))
    assert [(r.kind, r.count, r.nanoseconds, r.cost.macs) for r in rows] == [
        ("Conv 1x1", 2, 5000, 2 * 36 * 4),
        ("Conv depthwise", 1, 1000, 36 * 9),
    ]


def test_integer_products_have_a_ceiling_of_their_own() -> None:
    found = model("g (uint8[64, 64] x) => (int32[64, 64] y) { [p] y = MatMulInteger(x, x) }")
    (row,) = measured_rows(found, [NodeTime("MatMulInteger", 1e6, ("p",))], CEILINGS)
    assert row.int8
    assert row.attainable == pytest.approx(64**3 / 4e9 * 1e9)


class Probed(runtime_class("onnxruntime")):  # type: ignore[misc]
    """A runtime whose kernels take as long as it is told."""

    calls = 0
    slowness = 1.0

    def profile(
        self,
        model: ir.Model,
        feeds: Feeds,
        machine: Machine,
        seconds: float,
        progress: Callable[[float, str], None],
        *,
        optimize: bool = True,
    ) -> list[NodeTime]:
        self.calls += 1
        return [NodeTime(n.op_type, 1e6 * self.slowness, (str(n.name),)) for n in model.graph]


def test_ceilings_are_stored_and_measured_again_when_a_kernel_is_above(tmp_path: Path) -> None:
    runtime: Any = Probed()
    with TuningDatabase(tmp_path / "t.sqlite") as database:
        runtime.slowness = 2.0
        busy = roofline_of(runtime, HOST, database)
        calls = runtime.calls
        assert roofline_of(runtime, HOST, database) == busy
        assert runtime.calls == calls, "stored"
        runtime.slowness = 1.0
        quiet = roofline_of(runtime, HOST, database, seen=1.5 * busy.peak)
        assert quiet.peak == pytest.approx(2 * busy.peak)
        runtime.slowness = 3.0
        assert roofline_of(runtime, HOST, database, seen=2 * quiet.peak).peak == pytest.approx(2 * quiet.peak)
        assert roofline_of(runtime, HOST, database).bandwidths == quiet.bandwidths, "never lowered"


def test_the_probe_runs_here(tmp_path: Path) -> None:
    runtime = runtime_class("onnxruntime")()
    with TuningDatabase(tmp_path / "t.sqlite") as database:
        found = roofline_of(runtime, HOST, database)
    assert found.peak > 1e8
    assert found.peak_int8 > 1e8
    sizes, rates = zip(*found.bandwidths, strict=True)
    assert list(sizes) == sorted(sizes)
    assert list(rates) == sorted(rates, reverse=True)
    assert min(rates) > 1e8
