"""What every command of the compiler process is asked with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tamis.compiler.machine_data import Machine
from tamis.compiler.model_file import save_model
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.tvm.machine_target import machine_target
from tamis.targets.tvm.settings import Settings
from tamis.targets.tvm.tuning.store import write_known


@contextmanager
def compile_request(
    model: ir.Model,
    machine: Machine,
    settings: Settings,
    database: TuningDatabase,
    fingerprint: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """The arguments that commands share: the model and the known schedules as files, which vanish in the end."""
    with tempfile.TemporaryDirectory(prefix="tamis-") as scratch:
        path, known = Path(scratch) / "model.onnx", Path(scratch) / "known.jsonl"
        save_model(model, path)
        write_known(database, fingerprint, known)
        yield {
            "model": str(path),
            "target": machine_target(machine, settings.threads),
            "gpu": machine.gpu and machine.gpu.model_dump(),
            "settings": settings.to_json(),
            "known": str(known),
        }
