"""Weights beside a library go to the device with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from tamis.targets.tvm.child import CompilerProcess
from tests.models import model, random
from tests.targets.tvm.rpc.conftest import HOST
from tests.targets.tvm.rpc.served import Library, Served


def test_weights_beside_a_library_go_to_the_device(
    compiler_process: CompilerProcess, device: Served, tmp_path: Path
) -> None:
    ir.save(model("g (float[4, 64] x) => (float[4, 32] y) { y = MatMul(x, W) }", W=random(64, 32)), tmp_path / "m.onnx")
    settings = {
        "threads": 2,
        "inputs": [{"name": "x", "dtype": "float32", "shape": [4, 64]}],
        "outputs": ["y"],
        "weights": "beside",
    }
    request = {"model": str(tmp_path / "m.onnx"), "target": HOST, "settings": settings, "out": str(tmp_path)}
    built = compiler_process.request("build", {**request, "known": None, "gpu": None})
    assert built["files"] == ["model.so", "weights.npz"]
    found = Library(tmp_path / "model.so", settings).on(device.address)({"x": random(4, 64, seed=1)})
    np.testing.assert_allclose(found["y"], random(4, 64, seed=1) @ random(64, 32), rtol=1e-4, atol=1e-5)
