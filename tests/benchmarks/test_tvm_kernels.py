"""The profile of a model's kernels under TVM."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from benchmarks.tvm_kernels.__main__ import show
from tamis.targets.hardware.host import detect
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target
from tests.models import model, random


def test_every_kernel_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "g (float[16, 32] x) => (float[16, 48] y) { h = MatMul(x, v)\n s = Softmax(h)\n y = MatMul(s, w) }"
    path = tmp_path / "model.onnx"
    ir.save(model(text, v=random(32, 64), w=random(64, 48)), path)
    asked = {"model": str(path), "target": machine_target(detect(), 1), "layout": "nchw", "threads": 1, "trials": 1}
    with CompilerProcess(1, "benchmarks.tvm_kernels.child") as process:
        kernels = process.request("profile", asked)["kernels"]
    assert sorted(k["mflop"] for k in kernels)[1:] == pytest.approx([16 * 32 * 64 * 2e-6, 16 * 64 * 48 * 2e-6], rel=0.1)
    assert all(k["best_us"] == pytest.approx(k["default_us"], abs=1e-3) and k["best_us"] > 0 for k in kernels)
    assert all(k["weight"] == k["trials"] == 1 for k in kernels)
    show(kernels, 2)
    table, _, last = capsys.readouterr().out.strip().rpartition("\n")
    assert last.startswith("3 kernels, ")
    assert table.count("16x") >= 2
