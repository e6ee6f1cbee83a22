"""Triton model repositories, read with the protobuf classes of Triton's own client."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest

from tamis.compiler.bundle import open_bundle
from tamis.compiler.errors import OutputError, TargetUnavailableError, UsageError
from tamis.compiler.exporting.triton import TritonModel, export_triton
from tests.toy_bundle import GRAPH, SETTINGS, write_bundle

text_format: Any = importlib.import_module("google.protobuf.text_format")
BATCHED = "g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"


@cache
def messages() -> Any:
    """``model_config_pb2`` without its package, which would import gRPC."""
    path = next(f for f in files("tritonclient") or () if f.as_posix() == "tritonclient/grpc/model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", str(path.locate()))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(tmp_path: Path, graph: str = GRAPH, **options: Any) -> tuple[Any, TritonModel]:
    of_bundle = {k: options.pop(k) for k in ("dims", "settings") if k in options}
    made = export_triton(open_bundle(write_bundle(tmp_path / "b", graph, **of_bundle)), tmp_path / "models", **options)
    return text_format.Parse((made.path / "config.pbtxt").read_text(), messages().ModelConfig()), made


def tensors(found: Any) -> list[tuple[str, str, list[int]]]:
    return [(t.name, messages().DataType.Name(t.data_type), list(t.dims)) for t in found]


def test_configuration_says_what_the_bundle_says(tmp_path: Path) -> None:
    config, made = exported(tmp_path)
    assert (config.name, config.platform, config.max_batch_size) == ("some_model", "onnxruntime_onnx", 0)
    assert tensors(config.input) == [("x", "TYPE_FP32", [-1, 4]), ("k", "TYPE_INT64", [-1])]
    assert tensors(config.output) == [("y", "TYPE_FP32", [-1, 4]), ("z", "TYPE_FP32", [1])]
    assert config.output[1].HasField("reshape") and list(config.output[1].reshape.shape) == []
    assert config.optimization.graph.level == 1
    assert {k: v.string_value for k, v in config.parameters.items()} == {
        "intra_op_thread_count": "2",
        "execution_mode": "0",
    }
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, messages().ModelInstanceGroup.KIND_CPU)
    assert made.notes == ("spinning: never",)
    assert (made.path / "1/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()


@pytest.mark.parametrize(("level", "number"), [("off", 2), ("basic", -1), ("extended", 1), ("all", 0), ("layout", 0)])
def test_levels_are_those_of_the_backend(tmp_path: Path, level: str, number: int) -> None:
    config, made = exported(tmp_path, settings={**SETTINGS, "graph_optimization": level})
    assert config.optimization.graph.level == number
    assert (level == "layout") == any("layout" in note for note in made.notes)


@pytest.mark.parametrize(
    ("op", "level", "noted"), [("Gemm", "all", True), ("Gemm", "off", False), ("MatMul", "all", False)]
)
def test_weights_that_triton_would_quantize_are_noted(tmp_path: Path, op: str, level: str, noted: bool) -> None:
    graph = f"""g (float[1, 2] x) => (float[1, 2] y) <float s = {{0.1}}, uint8 z = {{128}}, float[2, 2] w = {{1, 2, 3, 4}}> {{
        a = QuantizeLinear(x, s, z)  b = DequantizeLinear(a, s, z)  c = {op}(b, w)  d = QuantizeLinear(c, s, z)
        y = DequantizeLinear(d, s, z) }}"""
    _, made = exported(tmp_path, graph, settings={**SETTINGS, "graph_optimization": level})
    assert any("float weights of c and 1 nodes in all" in note for note in made.notes) is noted


def test_gpu(tmp_path: Path) -> None:
    config, _ = exported(tmp_path, settings={**SETTINGS, "provider": "tensorrt", "device_id": 1})
    assert config.instance_group[0].kind == messages().ModelInstanceGroup.KIND_GPU
    assert list(config.instance_group[0].gpus) == [1]
    assert config.optimization.execution_accelerators.gpu_execution_accelerator[0].name == "tensorrt"
    assert config.optimization.graph.level == 1


def test_batching(tmp_path: Path) -> None:
    config, _ = exported(tmp_path, BATCHED, dims={"N": (1, 8)}, max_batch=8)
    assert config.max_batch_size == 8
    assert tensors((*config.input, *config.output)) == [("x", "TYPE_FP32", [4]), ("y", "TYPE_FP32", [4])]


@pytest.mark.parametrize(
    ("graph", "dims", "message"),
    [
        (GRAPH, {"N": (1, 8)}, "cannot be batched"),
        (BATCHED.replace("N", "2"), {}, "cannot be batched"),
        (BATCHED, {"N": (1, 7)}, "outside what the bundle was proven for"),
        (BATCHED, {"N": (2, 8)}, "outside what the bundle was proven for"),
    ],
)
def test_models_that_cannot_be_batched(tmp_path: Path, graph: str, dims: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        exported(tmp_path, graph, dims=dims, max_batch=8)
    assert not (tmp_path / "models").exists()


def test_only_onnx_files_can_be_served(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b", artifact="model.so"))
    with pytest.raises(TargetUnavailableError, match="an ONNX file") as raised:
        export_triton(bundle, tmp_path / "models")
    assert raised.value.exit_code == 4


def test_other_models_of_the_repository_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "models/some_model"
    other.mkdir(parents=True)
    (other / "config.pbtxt").write_text("name: 'mine'")
    with pytest.raises(OutputError, match="not made by tamis"):
        exported(tmp_path)
    bundle = open_bundle(tmp_path / "b")
    for _ in range(2):
        export_triton(bundle, tmp_path / "models", name="v2.0")
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["some_model", "v2.0"]
    with pytest.raises(UsageError, match="not a name"):
        export_triton(bundle, tmp_path / "models", name="../v2")
    export_triton(bundle, tmp_path / "models", name="config.pbtxt")
    assert (tmp_path / "models" / "config.pbtxt" / "1" / "model.onnx").is_file()


def test_names_are_quoted(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b", BATCHED))
    from tamis.compiler.exporting.triton import config_text
    from tamis.compiler.model_file import load_model

    graph = load_model(tmp_path / "b/model.onnx").graph
    graph.inputs[0].name = 'a"\\\nä'
    text, _ = config_text(bundle, graph, "n", 0)
    assert text_format.Parse(text, messages().ModelConfig()).input[0].name == 'a"\\\nä'
