"""``tamis tune`` with runtime tvm: what it finds is in the database, and a compile then measures nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import tamis
from tamis.compiler.cli.app import run
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.machine import find_machine
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.tvm.layout import preferred_layout
from tamis.targets.tvm.runtime import Tvm
from tamis.targets.tvm.settings import TvmOptions
from tamis.targets.tvm.tuner import Tuner
from tamis.targets.tvm.tuning.store import KIND
from tests.models import model, random

RECIPE = """
version: 1
model: net.onnx
passes: [canonicalize]
targets: [{machine: host, runtime: tvm, tune: {trials: 4}}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A product and a Relu, a recipe that tunes it, and a database of its own."""
    ir.save(
        model("g (float[4, 64] x) => (float[4, 32] y) { m = MatMul(x, W) y = Relu(m) }", W=random(64, 32)),
        tmp_path / "net.onnx",
    )
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_a_compile_after_tuning_measures_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", str(folder / "recipe.yaml"), "--json"]) == 0
    [tuned] = json.loads(capsys.readouterr().out)
    assert tuned["record"]["trials"] == 4 and not tuned["record"]["reused"]
    with TuningDatabase() as database:
        before = [record.to_dict() for record in database.items() if record.kind == KIND]
    assert len(before) == 1
    bundle = tamis.compile(recipe=folder / "recipe.yaml", out=folder / "out")
    assert bundle.measurements["tuning"]["reused"]
    assert "schedules: 1 tuned" in bundle.report.target.notes
    with TuningDatabase() as database:
        assert [record.to_dict() for record in database.items() if record.kind == KIND] == before


def test_an_untuned_build_says_so(folder: Path) -> None:
    bundle = tamis.compile(
        recipe=folder / "recipe.yaml", out=folder / "out", set={"targets": [{"machine": "host", "runtime": "tvm"}]}
    )
    assert "schedules: 1 default" in bundle.report.target.notes


def test_records_of_another_machine_are_not_used(folder: Path) -> None:
    host = find_machine("host")
    other = host.model_copy(update={"llvm": host.llvm.model_copy(update={"cpu": "x86-64-v2"})})
    assert Tvm().fingerprint(host) != Tvm().fingerprint(other)
    assert Tvm().fingerprint(host) != Tvm(TvmOptions(threads=1)).fingerprint(host)


def test_a_search_needs_a_link_that_measures(folder: Path) -> None:
    target = {"machine": "cortex-a72", "runtime": "tvm", "link": "none", "tune": {"trials": 4}}
    with pytest.raises(tamis.TargetUnavailableError, match=r"cannot be measured over link 'none'.*tamis cache import"):
        tamis.compile(recipe=folder / "recipe.yaml", out=folder / "out", set={"targets": [target]})


def net(shape: str, *weight: int, group: int = 1) -> ir.Model:
    """One convolution; shapes are inferred."""
    made = model(
        f"g (float[{shape}] x) => (float[N, C, H, W] y) {{ y = Conv<group = {group}>(x, W) }}", W=random(*weight)
    )
    height, width = (int(n) for n in shape.split(",")[2:])
    made.graph.outputs[0].shape = ir.Shape([1, weight[0], height - weight[2] + 1, width - weight[3] + 1])
    return made


def test_both_layouts_are_tried_if_there_is_a_convolution() -> None:
    feeds: Feeds = {"x": np.zeros(1, np.float32)}
    product = model("g (float[4, 64] x) => (float[4, 32] y) { y = MatMul(x, W) }", W=random(64, 32))
    conv = net("1, 4, 8, 8", 4, 4, 3, 3)
    host = find_machine("host")
    with TuningDatabase() as database:
        for made, options, expected in (
            (conv, TvmOptions(), ("nchw", "nhwc")),
            (conv, TvmOptions(layout="nhwc"), ("nhwc",)),
            (product, TvmOptions(), ("nchw",)),
        ):
            assert Tuner(Tvm(options), made, feeds, host, database)._layouts() == expected


def test_the_layout_of_an_untuned_build() -> None:
    machine = find_machine("x86-64-avx2")  # 8 lanes
    assert preferred_layout(net("1, 32, 64, 64", 32, 32, 3, 3), machine) == "nhwc"  # dense
    assert preferred_layout(net("1, 32, 64, 64", 32, 32, 1, 1), machine) == "nhwc"  # either fills registers
    assert preferred_layout(net("1, 32, 64, 64", 32, 1, 3, 3, group=32), machine) == "nhwc"
    assert preferred_layout(net("1, 3, 64, 64", 4, 3, 3, 3), machine) == "nchw"  # few channels
    assert preferred_layout(net("1, 32, 14, 14", 12, 32, 1, 1), machine) == "nchw"  # 14 of 16, 12 of 16
    assert preferred_layout(net("1, 32, 7, 7", 12, 32, 1, 1), machine) == "nchw"
    assert preferred_layout(net("1, 32, 7, 7", 32, 32, 1, 1), machine) == "nhwc"  # narrow
