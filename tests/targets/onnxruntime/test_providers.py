"""Providers of ONNX Runtime: their options, their order, and what happens where they are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from pydantic import ValidationError

from tamis.compiler.errors import TargetUnavailableError
from tamis.compiler.link import Link
from tamis.compiler.machine import find_machine
from tamis.compiler.target import Artifact
from tamis.targets.onnxruntime.providers import NAMES, absent
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tamis.targets.onnxruntime.session import SessionRunner
from tamis.targets.onnxruntime.settings import OnnxRuntimeOptions, Settings
from tests.models import model, random

GPU_MACHINES = ("nvidia-sm80", "nvidia-sm86", "nvidia-sm89", "nvidia-sm90", "jetson-orin")
ALL = list(NAMES.values())
CPU, CUDA, TENSORRT = NAMES["cpu"], NAMES["cuda"], NAMES["tensorrt"]
FEEDS = {"x": random(2, 64, seed=1)}


def net() -> Any:
    return model("g (float[N, 64] x) => (float[N, 32] y) { h = MatMul(x, W) y = Relu(h) }", W=random(64, 32))


class FakeSession:
    """Remembers what it was made with; starts the providers that ``starting`` names."""

    made: list[dict[str, Any]]
    starting: list[str]

    def __init__(self, source: object, options: object, **arguments: Any) -> None:
        self.made.append(arguments)

    def get_providers(self) -> list[str]:
        return self.starting

    def get_inputs(self) -> list[object]:
        return []

    def get_outputs(self) -> list[object]:
        return []


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """ONNX Runtime as built for GPUs, on a machine where all its providers start."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
    monkeypatch.setattr(FakeSession, "made", [], raising=False)
    monkeypatch.setattr(FakeSession, "starting", ALL, raising=False)
    return FakeSession


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [CPU]),
        ({"provider": "cpu"}, [CPU]),
        ({"provider": "cuda"}, [(CUDA, {"device_id": "0", "use_tf32": "0"}), CPU]),
        (
            {"provider": "cuda", "device_id": 1, "memory_limit": 4096, "convolution_search": "heuristic", "tf32": True},
            [
                (
                    CUDA,
                    {
                        "device_id": "1",
                        "use_tf32": "1",
                        "gpu_mem_limit": "4096",
                        "cudnn_conv_algo_search": "HEURISTIC",
                    },
                ),
                CPU,
            ],
        ),
        (
            {"provider": "tensorrt"},
            [
                (TENSORRT, {"device_id": "0", "trt_fp16_enable": "0"}),
                (CUDA, {"device_id": "0", "use_tf32": "0"}),
                CPU,
            ],
        ),
        (
            {"provider": "tensorrt", "device_id": 2, "fp16": True, "workspace": 1 << 30, "engine_cache": "engines"},
            [
                (
                    TENSORRT,
                    {
                        "device_id": "2",
                        "trt_fp16_enable": "1",
                        "trt_max_workspace_size": "1073741824",
                        "trt_engine_cache_enable": "1",
                        "trt_engine_cache_path": "engines",
                        "trt_timing_cache_enable": "1",
                        "trt_timing_cache_path": "engines",
                    },
                ),
                (CUDA, {"device_id": "2", "use_tf32": "0"}),
                CPU,
            ],
        ),
    ],
)
def test_options_reach_the_session(with_gpu: type[FakeSession], given: dict[str, Any], expected: list[Any]) -> None:
    options = OnnxRuntimeOptions.model_validate(given)
    settings = Settings.model_validate({"threads": 1, **options.model_dump(exclude_none=True)})
    SessionRunner(b"", settings, where="here")
    assert with_gpu.made == [{"providers": expected, "enable_fallback": 0}]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"device_id": 0}, "device_id: name a GPU provider"),
        ({"provider": "cpu", "tf32": True, "fp16": True}, "fp16, tf32: name a GPU provider"),
        ({"provider": "cuda", "fp16": True}, "fp16: only provider tensorrt"),
        ({"provider": "cuda", "device_id": -1}, "greater than or equal to 0"),
        ({"provider": "rocm"}, "'cpu', 'cuda' or 'tensorrt'"),
        ({"provider": "tensorrt", "engine_cache": ""}, "at least 1 character"),
    ],
)
def test_options_that_make_no_sense(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OnnxRuntimeOptions.model_validate(given)


@pytest.mark.parametrize("name", GPU_MACHINES)
def test_a_machine_with_a_gpu_selects_cuda(name: str) -> None:
    machine = find_machine(name)
    assert machine.gpu is not None
    assert OnnxRuntime().default_settings(machine)["provider"] == "cuda"
    assert OnnxRuntime(OnnxRuntimeOptions(provider="cpu")).default_settings(machine)["provider"] == "cpu"
    assert OnnxRuntime().fingerprint(machine)["gpu"] == machine.gpu.compute


def test_other_machines_say_nothing_of_providers() -> None:
    host = find_machine("host")
    assert "provider" not in OnnxRuntime().default_settings(host)
    assert "provider" not in OnnxRuntime().fingerprint(host)


def test_a_build_without_the_provider() -> None:
    class CpuOnly:
        @staticmethod
        def get_available_providers() -> list[str]:
            return [CPU]

    assert absent(CpuOnly, None) is None
    assert absent(CpuOnly, "cpu") is None
    assert "onnxruntime-gpu" in str(absent(CpuOnly, "cuda"))
    assert "tensorrt" in str(absent(CpuOnly, "tensorrt"))


def test_unavailable_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = find_machine("nvidia-sm80")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    assert "onnxruntime-gpu" in str(OnnxRuntime().unavailable(machine))
    assert OnnxRuntime(link=Link(kind="none")).unavailable(machine) is None
    with pytest.raises(TargetUnavailableError, match="onnxruntime-gpu"):
        SessionRunner(b"", Settings(threads=1, provider="cuda"), where="here")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL)
    assert "onnxruntime-gpu" not in str(OnnxRuntime().unavailable(machine))


def test_emulation_has_no_gpu() -> None:
    assert "provider: cpu" in str(OnnxRuntime(link=Link(kind="qemu")).unavailable(find_machine("jetson-orin")))


def test_a_provider_that_does_not_start_is_an_error(
    with_gpu: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_gpu, "starting", [CPU])  # what onnxruntime-gpu does where CUDA's libraries are missing
    with pytest.raises(TargetUnavailableError, match=r"model m: provider cuda does not start.*CPUExecutionProvider"):
        SessionRunner(b"", Settings(threads=1, provider="cuda"), where="model m")

    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("Please install TensorRT libraries")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuses)
    with pytest.raises(TargetUnavailableError, match=r"provider tensorrt does not start.*install TensorRT"):
        SessionRunner(b"", Settings(threads=1, provider="tensorrt"), where="model m")


def test_the_reference_is_on_the_cpu() -> None:
    runtime = OnnxRuntime(OnnxRuntimeOptions(provider="cuda", device_id=1))
    assert runtime.load_model(net(), optimize=False)(FEEDS)["y"].shape == (2, 32)


def test_nothing_is_asked_of_a_gpu_that_is_elsewhere() -> None:
    runtime = OnnxRuntime(OnnxRuntimeOptions(provider="tensorrt", fp16=True), link=Link(kind="none"))
    on_cpu = OnnxRuntime().load_model(net())(FEEDS)["y"]
    assert np.array_equal(runtime.load_model(net())(FEEDS)["y"], on_cpu)


def test_settings_with_a_provider_go_through_the_manifest() -> None:
    options = OnnxRuntimeOptions(provider="tensorrt", fp16=True, engine_cache="engines")
    settings = OnnxRuntime(options).default_settings(find_machine("nvidia-sm89"))
    assert Artifact("onnxruntime", ("model.onnx",), settings).settings == settings
    read = Settings.model_validate(settings)
    assert (read.provider, read.fp16, read.engine_cache) == ("tensorrt", True, "engines")
    assert read.to_json() == settings
