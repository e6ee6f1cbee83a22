"""CUDA builds without a GPU: compiled, held to limits, and their schedules executed on the CPU."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from tamis.compiler.machine import find_machine
from tests.targets.tvm.gpu import models

FILES = ["model.so", "kernels.cu", "kernels.cubin", "kernels.ptx", "kernels.json", "on-device.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gpu")
    for name in ("cnn", "block", "dynamic"):
        ir.save(getattr(models, name)(), made / f"{name}.onnx")
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What ``gpu_child`` tells."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.targets.tvm.gpu.gpu_child", str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TVM_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("name", ["cnn", "block", "dynamic"])
def test_kernels_are_compiled_for_the_machine(found: dict[str, Any], folder: Path, name: str) -> None:
    assert found[name]["files"] == FILES
    out = folder / name
    assert all((out / file).stat().st_size for file in FILES)
    cubin = (out / "kernels.cubin").read_bytes()
    assert cubin[:4] == b"\x7fELF"
    source, ptx = (out / "kernels.cu").read_text(), (out / "kernels.ptx").read_text()
    assert ".target sm_80" in ptx
    for kernel in found[name]["kernels"]:
        assert f".entry {kernel['name']}(" in ptx
        assert kernel["name"].encode() in cubin
        assert f"__launch_bounds__({kernel['threads']}) {kernel['name']}(" in source


def test_the_report_of_kernels(found: dict[str, Any], folder: Path) -> None:
    written = json.loads((folder / "cnn/kernels.json").read_text())
    assert written["kernels"] == found["cnn"]["kernels"]
    assert written["compute"] == "sm_80"
    assert written["source"] == hashlib.sha256((folder / "cnn/kernels.cu").read_bytes()).hexdigest()
    gpu = find_machine("nvidia-sm80").gpu
    assert gpu is not None
    for kernel in written["kernels"]:
        x, y, z = kernel["block"]
        assert kernel["threads"] == x * y * z <= gpu.max_threads_per_block
        assert 0 < kernel["registers"] <= gpu.registers_per_thread
        assert kernel["static_shared"] + kernel["dynamic_shared"] <= gpu.shared_memory_per_block
        assert kernel["spill_stores"] == kernel["spill_loads"] == 0
        assert all(size > 0 for size in kernel["grid"])


def test_sizes_that_depend_on_the_inputs(found: dict[str, Any]) -> None:
    assert None in found["dynamic"]["kernels"][0]["grid"]


def test_each_phase_is_told(found: dict[str, Any]) -> None:
    assert {"import", "schedule", "generate code", "compile kernels", "link", "execute"} <= set(found["phases"])


def test_what_does_not_fit_is_refused(found: dict[str, Any]) -> None:
    threads, shared = found["refused"]
    assert "a kernel does not fit sm_80" in threads
    assert "expected at most 64 threads a block" in threads
    assert "kernel 'fused_conv2d" in shared
    assert "expected at most 4096 bytes of static shared memory" in shared


@pytest.mark.parametrize("name", ["cnn", "block"])
def test_executed_on_the_cpu_the_kernels_compute_the_same(found: dict[str, Any], name: str) -> None:
    executed = found["executed"][name]
    assert executed["unchecked"] == []
    kernels = {kernel for check in executed["checks"] for kernel in check["kernels"]}
    assert kernels == {kernel["name"] for kernel in found[name]["kernels"]}
    assert {c["function"]: c["error"] for c in executed["checks"] if not c["error"] <= 2e-6} == {}


def test_a_barrier_that_is_missing_is_found(found: dict[str, Any]) -> None:
    wrong = [c["function"] for c in found["without barriers"]["checks"] if not c["error"] <= c["limit"]]
    assert any("softmax" in name for name in wrong)
    assert any("conv2d" in name for name in wrong)


def test_the_bundle_says_what_is_left_to_check(folder: Path, found: dict[str, Any]) -> None:
    text = (folder / "cnn/on-device.md").read_text()
    assert f"The {len(found['cnn']['kernels'])} kernels" in text
    assert "compute capability 8.0" in text
    assert "tamis verify" in text
