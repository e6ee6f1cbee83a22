"""The runtime ``onnxruntime``: loads, runs, lowers, refuses, tunes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import DataError, LoweringError, RuntimeFailureError
from tamis.compiler.machine import find_machine
from tamis.compiler.model_file import load_model
from tamis.compiler.target import Artifact, TuneResult
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tamis.targets.onnxruntime.session import import_onnxruntime
from tamis.targets.onnxruntime.settings import OnnxRuntimeOptions, Settings
from tamis.targets.onnxruntime.tune_session import candidates, tune_session
from tests.compiler.test_measure import MS, SimulatedMachine
from tests.models import model, random

HOST = find_machine("host")
NET = "g (float[N, 64] x) => (float[N, 32] y) { h = MatMul(x, W) y = Relu(h) }"


def net() -> ir.Model:
    return model(NET, W=random(64, 32))


FEEDS = {"x": random(2, 64, seed=1)}
WANT = np.maximum(FEEDS["x"].astype(np.float64) @ random(64, 32).astype(np.float64), 0)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_model_in_memory(optimize: bool) -> None:
    made = net()
    before = made.graph.initializers["W"].const_value
    runner = OnnxRuntime().load_model(made, optimize=optimize)
    assert (tuple(runner.input_names), tuple(runner.output_names)) == (("x",), ("y",))
    np.testing.assert_allclose(runner(FEEDS)["y"], WANT, rtol=1e-5, atol=1e-5)
    assert np.array_equal(runner(FEEDS)["y"], runner(FEEDS)["y"])
    assert made.graph.initializers["W"].const_value is before


def test_weights_in_external_files(tmp_path: Path) -> None:
    ir.save(net(), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    runner = OnnxRuntime().load_model(load_model(tmp_path / "m.onnx"))
    np.testing.assert_allclose(runner(FEEDS)["y"], WANT, rtol=1e-5, atol=1e-5)


def test_lowering_is_deterministic_and_loads(tmp_path: Path) -> None:
    runtime = OnnxRuntime(OnnxRuntimeOptions(threads=1))
    settings = runtime.default_settings(HOST)
    assert settings["threads"] == 1
    with TuningDatabase(tmp_path / "tuning.sqlite") as database:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            artifact = runtime.lower(net(), tmp_path / name, HOST, settings, database)
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
    np.testing.assert_allclose(runtime.load(tmp_path / "a", artifact)(FEEDS)["y"], WANT, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"X": FEEDS["x"]}, r"no input 'X' \(did you mean 'x'\?\)"),
        ({}, "x"),
        ({"x": FEEDS["x"].astype(np.float64)}, "element type; expected float32, found float64"),
        ({"x": FEEDS["x"][:, :5]}, "wrong shape"),
        ({"x": FEEDS["x"][0]}, "wrong shape"),
    ],
)
def test_inputs_that_do_not_fit(
    feeds: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        OnnxRuntime().load_model(net())(feeds)


def test_failures_are_errors_of_ours(tmp_path: Path) -> None:
    table = model("g (int64[1] i) => (float[1, 3] y) { y = Gather(T, i) }", T=random(4, 3))
    with pytest.raises(RuntimeFailureError, match="Gather"):
        OnnxRuntime().load_model(table)({"i": np.array([9])})
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    settings = OnnxRuntime().default_settings(HOST)
    with pytest.raises(LoweringError, match=r"model\.onnx"):
        OnnxRuntime().load(tmp_path, Artifact("onnxruntime", ("model.onnx",), settings))
    with pytest.raises(LoweringError, match="settings"):
        OnnxRuntime().load(tmp_path, Artifact("onnxruntime", ("model.onnx",), {"threads": "many"}))


def test_where_it_is_available() -> None:
    assert OnnxRuntime().unavailable(HOST) is None
    other = "cortex-a72" if HOST.arch == "x86-64" else "x86-64-avx2"
    assert "not" in str(OnnxRuntime().unavailable(find_machine(other)))


def test_operators_that_it_does_not_know() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>\ng (float[2] x) => (float[2] y) {y = com.acme.Mystery(x)}'
    strange = ir.from_onnx_text(text)
    (line,) = OnnxRuntime().unsupported(strange, HOST)
    assert "Mystery" in line
    assert OnnxRuntime().unsupported(net(), HOST) == []


def test_the_fingerprint_names_what_matters() -> None:
    found = OnnxRuntime().fingerprint(HOST)
    assert {"cpu", "isa", "threads", "onnxruntime"} <= set(found)
    assert found == OnnxRuntime().fingerprint(HOST)


def test_tuning_finds_the_fast_setting_and_respects_the_recipe() -> None:
    """A model that takes a tenth of the time if 'graph_optimization' is 'extended': the search must find it."""
    machine = SimulatedMachine()

    class Fake:
        input_names = output_names = ()

        def __init__(self, settings: Settings) -> None:
            self.call = machine.call(MS / 10 if settings.graph_optimization == "extended" else MS)

        def __call__(self, feeds: object) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
            self.call()
            return {}

    def tune(fixed: frozenset[str]) -> TuneResult:
        return tune_session(Fake, start, fixed, {}, 6, lambda fraction, note: None, machine.clock)

    start = Settings(threads=2)
    found = tune(frozenset({"threads"}))
    assert found.settings["graph_optimization"] == "extended"
    assert found.settings["threads"] == 2
    (kept,) = (t for t in found.record["trials"] if t["kept"])
    assert kept["speedup"] == pytest.approx(10, rel=0.05)
    assert tune(frozenset(k for k, _ in candidates(2))).settings == start.to_json()


@pytest.mark.parametrize(
    ("change", "fused"),
    [({}, {"Gemm", "SkipLayerNormalization"}), ({"fuse_matmul_add": False}, {"SkipLayerNormalization"}),
     ({"fuse_skip_layer_norm": False}, {"Gemm"})],
)  # fmt: skip
def test_fusions_can_be_switched_off(change: dict[str, bool], fused: set[str], tmp_path: Path) -> None:
    graph = """g (float[1, 4, 8] x) => (float[1, 4, 8] y) {
        p = MatMul(x, w)
        q = Add(p, b)
        r = Add(q, x)
        y = LayerNormalization<axis = -1>(r, s, b)
    }"""
    made = model(graph, w=random(8, 8), b=random(8), s=random(8))
    ort = import_onnxruntime()
    options = Settings(threads=1, **change).session_options(ort)
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(ir.to_proto(made).SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = {node.op_type for node in ir.load(tmp_path / "optimized.onnx").graph}
    assert found & {"Gemm", "SkipLayerNormalization"} == fused
