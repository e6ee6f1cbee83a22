"""Everything for real, where there is a GPU: ``pytest -m gpu``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from tamis.compiler.machine import find_machine
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.onnxruntime.providers import NAMES, Provider
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tamis.targets.onnxruntime.settings import OnnxRuntimeOptions
from tests.models import random, run
from tests.targets.tvm.gpu import models

FEEDS = {"cnn": {"x": random(1, 3, 32, 32)}, "block": {"x": random(1, 16, 32)}, "dynamic": {"x": random(5, 64)}}
QUERY = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``models.py``, built for sm_80."""
    made = tmp_path_factory.mktemp("device")
    for name in FEEDS:
        ir.save(getattr(models, name)(), made / f"{name}.onnx")
    subprocess.run(
        [sys.executable, "-m", "tests.targets.tvm.gpu.gpu_child", str(made)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
        capture_output=True,
    )
    return made


def test_the_device_is_what_a_machine_says() -> None:
    capability = subprocess.run(QUERY, check=True, capture_output=True, text=True).stdout.splitlines()[0].strip()
    names = ("nvidia-sm80", "nvidia-sm86", "nvidia-sm89", "nvidia-sm90", "jetson-orin")
    known = {gpu.compute for name in names if (gpu := find_machine(name).gpu) is not None}
    assert f"sm_{capability.replace('.', '')}" in known


@pytest.mark.parametrize("name", list(FEEDS))
def test_libraries_compute_what_onnx_runtime_does(folder: Path, name: str) -> None:
    graph = getattr(models, name)()
    settings = {
        "threads": 1,
        "inputs": [{"name": "x", "dtype": "float32", "shape": [str(d) for d in FEEDS[name]["x"].shape]}],
        "outputs": ["y"],
    }
    library = RemoteModel("tvm-cuda", folder / name / "model.so", settings)
    found = library(FEEDS[name])["y"]
    (expected,) = run(graph, FEEDS[name])
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert json.loads((folder / name / "kernels.json").read_text())["kernels"]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
@pytest.mark.parametrize("name", list(FEEDS))
def test_providers_compute_what_the_cpu_does(provider: Provider, name: str) -> None:
    assert NAMES[provider] in onnxruntime.get_available_providers()
    graph = getattr(models, name)()
    found = OnnxRuntime(OnnxRuntimeOptions(provider=provider)).load_model(graph)(FEEDS[name])["y"]
    (expected,) = run(graph, FEEDS[name])
    limit = 1e-2 if provider == "tensorrt" else 1e-4  # TensorRT rounds products to TF32
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()
