"""Devices on the loopback address, and libraries to run there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import onnx
import pytest

from tamis.targets.tvm.child import CompilerProcess
from tests.targets.tvm.rpc.served import Library, Served

TWO_OUTPUTS = """
<ir_version: 10, opset_import: ["": 20]>
g (float[4,8] x, float[8,8] y) => (float[4,8] a, float[4,8] b) {
   product = MatMul(x, y)
   a = Relu(product)
   b = Sigmoid(product)
}"""
SLOW = """
<ir_version: 10, opset_import: ["": 20]>
g (float[768,768] x, float[768,768] y) => (float[768,768] a) {
   product = MatMul(x, y)
   again = MatMul(product, y)
   a = Relu(again)
}"""

HOST = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3", "num-cores": 2}
ARM = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "num-cores": 2}


@pytest.fixture(scope="session")
def build(compiler_process: CompilerProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Library]:
    """Compiles a model for a target."""

    def make(text: str, target: dict[str, Any], inputs: dict[str, list[int]], outputs: list[str]) -> Library:
        folder = tmp_path_factory.mktemp("library")
        onnx.save(onnx.parser.parse_model(text), folder / "model.onnx")
        specs = [{"name": n, "dtype": "float32", "shape": shape} for n, shape in inputs.items()]
        settings = {"threads": 2, "inputs": specs, "outputs": outputs}
        request = {"model": str(folder / "model.onnx"), "target": target, "settings": settings, "out": str(folder)}
        compiler_process.request("build", {**request, "known": None, "gpu": None})
        return Library(folder / "model.so", json.loads(json.dumps(settings)))

    return make


@pytest.fixture(scope="session")
def two_outputs(build: Callable[..., Library]) -> Library:
    """A small library for this machine."""
    return build(TWO_OUTPUTS, HOST, {"x": [4, 8], "y": [8, 8]}, ["a", "b"])


@pytest.fixture(scope="session")
def for_arm(build: Callable[..., Library]) -> Library:
    """The same for arm64."""
    return build(TWO_OUTPUTS, ARM, {"x": [4, 8], "y": [8, 8]}, ["a", "b"])


@pytest.fixture(scope="session")
def slow(build: Callable[..., Library]) -> Library:
    """A call takes tens of milliseconds."""
    return build(SLOW, HOST, {"x": [768, 768], "y": [768, 768]}, ["a"])


@pytest.fixture(scope="session")
def device() -> Iterator[Served]:
    """A server for tests that leave it whole."""
    with Served("serve_device") as served:
        yield served


@pytest.fixture
def mortal() -> Iterator[Served]:
    """A server of a test's own."""
    with Served("serve_device") as served:
        yield served


@pytest.fixture(scope="session")
def tracker() -> Iterator[Served]:
    """A tracker without devices."""
    with Served("serve_tracker") as served:
        yield served
