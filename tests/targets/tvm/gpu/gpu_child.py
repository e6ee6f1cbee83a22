"""Runs in a process with TVM: builds and executes the models of ``models.py``, prints what came of it as JSON.

``python -m tests.targets.tvm.gpu.gpu_child FOLDER``, where FOLDER holds ``cnn.onnx``, ``block.onnx`` and ``dynamic.onnx``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tamis.compiler.errors import LoweringError
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Gpu
from tamis.targets.tvm.child_main import leave_out_unused
from tamis.targets.tvm.machine_target import machine_target

MACHINE = find_machine("nvidia-sm80")
BARRIER = "barrier(CLK_LOCAL_MEM_FENCE)"


def main(folder: Path) -> dict[str, Any]:
    """Everything that the tests look at."""
    from tamis.targets.tvm.gpu import build_cuda, opencl_check
    from tamis.targets.tvm.importing import import_model

    assert MACHINE.gpu is not None
    gpu = MACHINE.gpu
    phases: list[str] = []

    def report(message: dict[str, Any]) -> None:
        phases.append(message["phase"])

    def built(name: str, limits: Gpu = gpu) -> dict[str, Any]:
        out = folder / name
        out.mkdir(exist_ok=True)
        target = machine_target(MACHINE, 2)
        return build_cuda.build_cuda(imported(name), target, out, limits.model_dump(), report)

    def imported(name: str) -> Any:
        return import_model(folder / f"{name}.onnx", report)

    def refusal(name: str, **limits: int) -> str:
        try:
            built(name, gpu.model_copy(update=limits))
        except LoweringError as error:
            return str(error)
        return "nothing was refused"

    def executed(name: str) -> dict[str, Any]:
        return asdict(opencl_check.check_kernels(imported(name), gpu, report))

    found: dict[str, Any] = {"cnn": built("cnn"), "block": built("block"), "dynamic": built("dynamic")}
    found["refused"] = [refusal("block", max_threads_per_block=64), refusal("cnn", shared_memory_per_block=4096)]
    found["executed"] = {"cnn": executed("cnn"), "block": executed("block")}
    original = opencl_check._Device.__init__

    def without_barriers(self: Any, source: str) -> None:
        original(self, source.replace(BARRIER, ""))

    with patch.object(opencl_check._Device, "__init__", without_barriers):
        found["without barriers"] = executed("cnn")
    return {**found, "phases": list(dict.fromkeys(phases))}


if __name__ == "__main__":
    leave_out_unused()
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
