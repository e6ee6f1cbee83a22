"""Tests of passes/quantization/analysis/quantization_analysis.py, float_analysis.py and integer_analysis.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.finding import Finding
from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import lookup
from tamis.compiler.target import Target
from tamis.passes.quantization.analysis.quantization_analysis import analyse_quantization
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tests.models import Array, model, random

NET = """g (float[1,3,8,8] x) => (float[1,5] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    b = Relu(a)
    c = Conv <pads = [1, 1, 1, 1]> (b, w2, b2)
    d = Relu(c)
    e = Flatten(d)
    y = Gemm(e, w3, b3)
}"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))


def _net(opset: int = 17, **weights: Array) -> ir.Model:
    named = {
        "w1": random(8, 3, 3, 3) * 0.3,
        "b1": random(8) * 0.1,
        "w2": random(8, 8, 3, 3, seed=1) * 0.1,
        "b2": random(8, seed=2) * 0.1,
        "w3": random(512, 5, seed=3) * 0.05,
        "b3": random(5, seed=4),
    } | weights
    found = model(NET, opset, **{name: array.astype(np.float32) for name, array in named.items()})
    for node, name in zip(found.graph, ("c1", "r1", "c2", "r2", "f", "fc"), strict=True):
        node.name = name
    return found


def _context(scale: float = 1.0, shape: tuple[int, ...] = (1, 3, 8, 8)) -> PassContext:
    def samples() -> Iterator[Feeds]:
        yield from ({"x": random(*shape, seed=i) * np.float32(scale)} for i in range(6))

    return PassContext(target=Target("host", find_machine("host"), OnnxRuntime()), samples=samples)


def _analyse(found: ir.Model, context: PassContext | None = None) -> tuple[Finding, dict[str, Any]]:
    finding = analyse_quantization(found, context or _context(), lambda _, __: None)
    json.dumps(finding.data, allow_nan=False)
    assert all(len(row) == len(finding.columns) for row in finding.rows)
    return finding, {layer["node"]: layer for layer in finding.data["layers"]}


def test_every_layer_of_a_float_model_is_tried_alone() -> None:
    finding, layers = _analyse(_net())
    assert not finding.data["quantized"] and list(layers) == ["c1", "c2", "fc"]
    assert all(25 < layer["sqnr_db"] < 80 for layer in layers.values())
    assert layers["c1"]["input_range"][0] < 0 and layers["c2"]["input_range"][0] == 0
    assert finding.bars is not None and set(finding.bars.values) == set(layers)
    assert finding.summary["quantizable"] == "3 of 3 layers with weights"


def test_a_layer_with_an_outlier_among_its_inputs_is_the_most_sensitive_one() -> None:
    bias = random(8) * 0.1
    bias[0] = 3000.0
    weight = random(8, 8, 3, 3, seed=1) * 0.1
    weight[:, 0] = 0
    finding, layers = _analyse(_net(b1=bias, w2=weight))
    assert finding.rows[0][0] in ("c1", "c2")
    worst = min(layers["c1"]["sqnr_db"], layers["c2"]["sqnr_db"])
    assert worst < layers["fc"]["sqnr_db"] - 20


def test_saturated_pairs_are_counted() -> None:
    _, layers = _analyse(_net(w3=np.full((512, 5), 0.5)), _context(scale=20))
    assert layers["fc"]["unsafe_columns"] == 5 and layers["fc"]["saturated"] > 0


def test_layers_that_cannot_be_quantized_say_why() -> None:
    net = _net(w2=np.full((8, 8, 3, 3), np.nan))
    _, layers = _analyse(net)
    assert not layers["c2"]["quantized"] and "NaN" in layers["c2"]["reason"]
    assert not layers["fc"]["quantized"] and "NaN or infinite on all calibration samples" in layers["fc"]["reason"]
    assert layers["c1"]["quantized"]


def test_tensors_that_are_never_active_are_reported() -> None:
    _, layers = _analyse(_net(b1=np.full(8, -1e4)))
    assert layers["c2"]["reason"].startswith("input is 0 on all calibration samples")


def test_an_old_opset_is_reported() -> None:
    finding, layers = _analyse(_net(opset=9))
    assert "opset 9" in finding.summary["quantizable"]
    assert not any(layer["quantized"] for layer in layers.values())


def test_a_model_with_nothing_to_quantize() -> None:
    finding, layers = _analyse(model("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"))
    assert not layers and finding.summary["quantizable"] == "0 of 0 layers with weights"


QDQ = """g (float[4,8] x) => (float[4,6] y) {
    xq = QuantizeLinear(x, xs, xz)
    xd = DequantizeLinear(xq, xs, xz)
    wd = DequantizeLinear <axis = 1> (w, ws, wz)
    m = MatMul(xd, wd)
    y = MatMul(m, v)
}"""


def test_a_quantized_model_is_read() -> None:
    found = model(
        QDQ,
        w=np.full((8, 6), 127, np.int8),
        ws=np.linspace(0.1, 0.2, 6, dtype=np.float32),
        wz=np.zeros(6, np.int8),
        xs=np.array(0.01, np.float32),
        xz=np.array(3, np.uint8),
        v=random(6, 6),
    )
    for node in found.graph:
        node.name = str(node.outputs[0].name)
    finding, layers = _analyse(found, _context(shape=(4, 8)))
    assert finding.data["quantized"] and not layers["y"]["quantized"]
    first = layers["m"]
    assert first["activation"] == {"type": "uint8", "scale": [pytest.approx(0.01)] * 2, "scales": 1, "zero_point": [3]}
    assert first["weight"]["type"] == "int8" and first["weight"]["scales"] == 6
    assert first["unsafe_columns"] == 6 and first["saturated"] > 0
    assert sum(finding.data["kernels"].values()) == 1 and finding.data["float_leftovers"] == []


def test_integer_operators_are_read() -> None:
    graph = """g (float[4,8] x) => (int32[4,6] y) {
        q, s, z = DynamicQuantizeLinear(x)
        y = MatMulInteger(q, w, z)
    }"""
    finding, layers = _analyse(model(graph, w=np.ones((8, 6), np.int8)), _context(shape=(4, 8)))
    [layer] = layers.values()
    assert layer["quantized"] and layer["activation"]["type"] == "uint8" and layer["activation"]["scale"] is None
    assert finding.data["kernels"] == {"MatMulInteger": 1}


def test_refuses_without_samples_or_target() -> None:
    for context in (PassContext(), PassContext(samples=_context().samples), PassContext(target=_context().target)):
        with pytest.raises(PreconditionError, match="cannot be analysed"):
            analyse_quantization(_net(), context, lambda _, __: None)


def test_is_in_the_registry() -> None:
    assert lookup("analyses", "quantization") is analyse_quantization
