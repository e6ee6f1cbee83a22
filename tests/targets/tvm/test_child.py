"""The compiler process: whatever happens in it, the parent lives and says where it happened."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import onnx_ir as ir
import pytest

from tamis.compiler.errors import LoweringError
from tamis.compiler.machine import find_machine
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target
from tamis.targets.tvm.settings import Settings

PLANTED = "tests.targets.tvm.planted_child"


def test_a_crash_names_the_phase_and_the_node() -> None:
    with CompilerProcess(1, PLANTED) as process, pytest.raises(LoweringError) as caught:
        process.request("abort", {})
    assert caught.value.where == "node 'conv_3' (Conv)"
    assert "died in phase 'import'" in str(caught.value)
    assert "SIGABRT" in str(caught.value)


def test_a_crash_in_the_importer_names_the_operator(tmp_path: Path) -> None:
    model = ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 4] x) => (float[1, 4] y) { h = Abs(x) y = Relu(h) }
    """)
    model.graph[1].name = "the_relu"
    ir.save(model, tmp_path / "model.onnx")
    request = {
        "model": str(tmp_path / "model.onnx"),
        "target": machine_target(find_machine("host"), 1),
        "settings": Settings(threads=1).to_json(),
        "out": str(tmp_path),
        "known": None,
        "gpu": None,
    }
    with CompilerProcess(1, PLANTED) as process, pytest.raises(LoweringError, match="phase 'import'") as caught:
        process.request("build", request)
    assert caught.value.where == "node 'the_relu' (Relu)"
    assert not list(tmp_path.glob("*.so*"))


def test_after_a_crash_a_new_process_serves() -> None:
    with CompilerProcess(1, PLANTED) as process:
        for _ in range(2):
            with pytest.raises(LoweringError, match="SIGABRT"):
                process.request("abort", {})


def test_an_error_in_the_process_is_told_and_survived(compiler_process: CompilerProcess, tmp_path: Path) -> None:
    with pytest.raises(LoweringError) as caught:
        compiler_process.request("build", {"out": str(tmp_path)})
    assert "KeyError" in str(caught.value)
    with pytest.raises(LoweringError, match="KeyError"):
        compiler_process.request("no such command", {})


def test_an_interrupt_ends_the_process() -> None:
    process = CompilerProcess(1, PLANTED)
    threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with process, pytest.raises(KeyboardInterrupt):
        process.request("sleep", {})
    assert time.monotonic() - started < 30
