"""Compiling through runtime ``tvm``: right on every link, refused node by node, caught when wrong."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import tamis
from tamis.compiler.bundle import Bundle
from tamis.targets.tvm import runtime as tvm_runtime
from tamis.targets.tvm.child import CompilerProcess

HOST = {"machine": "host", "runtime": "tvm"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CNN: Conv, Relu, pooling, Gemm."""
    random = np.random.default_rng(0)
    found = ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 3, 8, 8] x) => (float[1, 5] y) {
            c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
            r = Relu(c)
            p = GlobalAveragePool(r)
            f = Flatten(p)
            y = Gemm(f, g, h)
        }
    """)
    for name, shape in {"w": (4, 3, 3, 3), "b": (4,), "g": (4, 5), "h": (5,)}.items():
        array = random.standard_normal(shape).astype(np.float32)
        tensor = ir.tensor(array, name=name)
        value = next(v for n in found.graph for v in n.inputs if v is not None and v.name == name)
        value.const_value, value.shape, value.type = tensor, ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
        found.graph.register_initializer(value)
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    ir.save(found, path)
    return path


def compiled(model: Path, out: Path, **target: Any) -> Bundle:
    """The model through ``lossless`` for one target."""
    return tamis.compile(model, recipe="lossless", out=out, set={"targets": [target]})


@pytest.fixture(scope="module")
def host_bundle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small CNN compiled by TVM for this machine."""
    return compiled(model, tmp_path_factory.mktemp("host") / "out", **HOST)


def test_a_library_computes_what_the_model_does(host_bundle: Bundle, model: Path, tmp_path: Path) -> None:
    bundle = host_bundle
    assert bundle.report.artifact == ("model.so",)
    assert bundle.report.target.executed
    assert bundle.report.drift is not None and bundle.report.drift < 1e-5
    assert bundle.measurements["speedup"]["pairs"] > 0
    assert all(replay.ok for replay in tamis.verify(bundle.path).replays)
    x = np.ones((1, 3, 8, 8), np.float32)
    run = tamis.load(bundle.path)
    reference = compiled(model, tmp_path / "reference", machine="host", runtime="onnxruntime")
    want = tamis.load(reference.path)({"x": x})["y"]
    np.testing.assert_allclose(run({"x": x})["y"], want, rtol=1e-5)
    with pytest.raises(tamis.DataError, match="shape"):
        run({"x": x[..., :4]})


def test_the_same_build_gives_the_same_bytes(host_bundle: Bundle, model: Path, tmp_path: Path) -> None:
    again = compiled(model, tmp_path / "out", **HOST)
    for file in ("model.so", "bundle.json", "golden.npz"):
        assert (host_bundle.path / file).read_bytes() == (again.path / file).read_bytes(), file


def test_an_emulated_machine_proves_results_and_times_nothing(model: Path, tmp_path: Path) -> None:
    bundle = compiled(model, tmp_path / "out", machine="cortex-a72", runtime="tvm", link="qemu")
    assert bundle.report.target.executed
    assert bundle.report.target.link.kind == "qemu"
    assert bundle.measurements["latency"] is None and bundle.measurements["speedup"] is None
    assert all(replay.ok for replay in tamis.verify(tmp_path / "out").replays)


def test_a_machine_that_is_not_there_can_be_compiled_for(model: Path, tmp_path: Path) -> None:
    bundle = compiled(model, tmp_path / "out", machine="cortex-a76", runtime="tvm", link="none")
    assert not bundle.report.target.executed
    assert (tmp_path / "out/model.so").read_bytes()[18] == 183  # EM_AARCH64


def test_without_a_link_the_three_ways_are_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(tamis.TargetUnavailableError) as caught:
        compiled(model, tmp_path / "out", machine="cortex-a72", runtime="tvm")
    for way in ("link: qemu", "rpc", "link: none"):
        assert way in str(caught.value)


def test_a_latency_budget_needs_a_link_that_measures(model: Path, tmp_path: Path) -> None:
    sets = {"targets": [{"machine": "cortex-a72", "link": "qemu"}], "budget.latency.max_ms": 5}
    with pytest.raises(tamis.PreconditionError, match="cannot be judged"):
        tamis.compile(model, recipe="lossless", out=tmp_path / "out", set=sets)


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A model with an operator that TVM cannot import."""
    path = tmp_path / "det.onnx"
    ir.save(
        ir.from_onnx_text("""
            <ir_version: 8, opset_import: ["" : 17]>
            g (float[3, 3] x) => (float y) { y = Det(x) }
        """),
        path,
    )
    return path


def test_nodes_that_tvm_lacks_are_named_before_any_work(refused: Path, tmp_path: Path) -> None:
    with pytest.raises(tamis.LoweringError, match=r"cannot run 1 nodes.*Det"):
        compiled(refused, tmp_path / "out", **HOST)
    assert not (tmp_path / "out").exists()


def test_the_recipe_may_let_onnxruntime_take_over(refused: Path, tmp_path: Path) -> None:
    bundle = compiled(refused, tmp_path / "out", options={"fallback": "onnxruntime"}, **HOST)
    assert bundle.report.target.runtime == "onnxruntime"
    assert bundle.report.target.note is not None
    assert bundle.report.target.note.startswith("onnxruntime instead of tvm") and "Det" in bundle.report.target.note


def test_auto_keeps_the_faster_and_says_so(model: Path, tmp_path: Path) -> None:
    bundle = compiled(model, tmp_path / "out", machine="host", runtime="auto")
    assert bundle.report.target.runtime in ("onnxruntime", "tvm")
    assert bundle.report.target.note is not None and "measured" in bundle.report.target.note
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [*bundle.report.artifact, "bundle.json", "golden.npz", "measurements.json"]
    )
    assert bundle.measurements["runtimes"][0]["against"] == ["onnxruntime", "tvm"]


def test_auto_takes_the_runtime_that_can(refused: Path, tmp_path: Path) -> None:
    bundle = compiled(refused, tmp_path / "out", machine="host", runtime="auto")
    assert bundle.report.target.runtime == "onnxruntime"
    assert "tvm cannot" in (bundle.report.target.note or "")


@pytest.mark.parametrize("program", ["planted_wrong", "planted_child"])
def test_what_tvm_does_wrong_never_becomes_a_bundle(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    planted = partial(CompilerProcess, program=f"tests.targets.tvm.{program}")
    monkeypatch.setattr(tvm_runtime, "CompilerProcess", planted)
    with pytest.raises(tamis.TamisError) as caught:
        compiled(model, tmp_path / "out", **HOST)
    if program == "planted_wrong":
        assert isinstance(caught.value, tamis.VerificationError)
        assert "the lowered model differs" in str(caught.value)
    else:
        assert isinstance(caught.value, tamis.LoweringError)
        assert "phase 'import'" in str(caught.value) and "SIGABRT" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", [{"runtime": "auto"}, {"runtime": "tvm", "options": {"fallback": "onnxruntime"}}])
def test_a_runtime_that_is_wrong_gives_way(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: dict[str, Any]
) -> None:
    planted = partial(CompilerProcess, program="tests.targets.tvm.planted_wrong")
    monkeypatch.setattr(tvm_runtime, "CompilerProcess", planted)
    bundle = compiled(model, tmp_path / "out", machine="host", **target)
    assert bundle.report.target.runtime == "onnxruntime"
    assert "the lowered model differs" in (bundle.report.target.note or "")


def test_plan_lists_what_tvm_lacks(refused: Path) -> None:
    from tamis.compiler.overrides import load_for
    from tamis.compiler.plan import make_plan

    plan = make_plan(load_for("lossless", model=refused, sets={"targets": [HOST]}))
    assert any("Det" in line for line in plan["targets"][0]["unsupported"])
    json.dumps(plan)
