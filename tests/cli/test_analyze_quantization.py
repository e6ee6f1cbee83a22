"""``tamis analyze --quantization`` through the command line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.cli.conftest import Command
from tests.models import model, random


def _data(count: int = 4) -> None:
    np.savez("data.npz", x=np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32))


@pytest.fixture(autouse=True)
def _cache(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(project / "cache"))


def test_table_json_and_samples(tamis: Command, project: Path) -> None:
    _data()
    ran = tamis("analyze", "tiny.onnx", "--quantization", "--data", "data.npz")
    assert ran.status == 0, ran
    assert "quantizable" in ran.out and "SQNR dB" in ran.out and "random" not in ran.out
    found = json.loads(tamis("analyze", "tiny.onnx", "--quantization", "--data", "data.npz", "--json").out)
    (layer,) = found["layers"]
    assert found["analysis"] == "quantization" and layer["op"] == "Conv" and layer["sqnr_db"] > 20


def test_the_number_of_samples(tamis: Command, project: Path) -> None:
    _data()
    whole, one = (
        json.loads(tamis("analyze", "tiny.onnx", "--quantization", "--data", "data.npz", "--json", *more).out)
        for more in ((), ("--samples", "1"))
    )
    assert whole["layers"][0]["input_range"] != one["layers"][0]["input_range"]


def test_the_data_tells_sizes_that_the_model_leaves_open(tamis: Command, project: Path) -> None:
    """Softmax of opset 11 takes all axes from ``axis`` on as one: only with known sizes is it that of opset 13."""
    _data()
    graph = """g (float[N, 3, H, W] x) => (float[N, K] y) {
        c = Conv(x, w)
        p = GlobalAveragePool(c)
        s = Shape(x)
        i = Constant<value = int64[1] {0}>()
        n = Gather(s, i)
        m = Constant<value = int64[1] {-1}>()
        to = Concat<axis = 0>(n, m)
        f = Reshape(p, to)
        y = Softmax<axis = 1>(f)
    }"""
    ir.save(model(graph, 11, w=random(8, 3, 3, 3)), "open.onnx")
    found = json.loads(tamis("analyze", "open.onnx", "--quantization", "--data", "data.npz", "--json").out)
    assert [layer["quantized"] for layer in found["layers"]] == [True]


def test_random_samples_are_said_to_be_random(tamis: Command, project: Path) -> None:
    ran = tamis("analyze", "tiny.onnx", "--quantization")
    assert ran.status == 0, ran
    assert "seeded random samples" in ran.out


def test_plot(tamis: Command, project: Path) -> None:
    """Written where matplotlib is installed; elsewhere the command says how to install it."""
    _data()
    ran = tamis("analyze", "tiny.onnx", "--quantization", "--data", "data.npz", "--plot", "layers.svg")
    if importlib.util.find_spec("matplotlib") is None:
        assert ran.status == 2 and "tamis[report]" in ran.err
        return
    assert ran.status == 0, ran
    assert "<svg" in Path("layers.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--quantization", "--data", "nowhere.npz"), 2, "no such file"),
        (("--quantization", "--data", "data.npz", "-i", "data.npz"), 2, "both --input and --data"),
        (("--data", "data.npz"), 2, "go with --quantization and --pruning only"),
        (("--quantization", "--plot", "layers.txt"), 2, "not a picture format"),
    ],
)
def test_refusals(tamis: Command, project: Path, arguments: tuple[str, ...], status: int, text: str) -> None:
    _data()
    ran = tamis("analyze", "tiny.onnx", *arguments)
    assert ran.status == status and text in ran.err
