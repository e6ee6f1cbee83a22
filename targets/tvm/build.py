"""The command ``build``: an ONNX file to a library for one machine. Runs in the compiler process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from tamis.targets.tvm.export import export_library
from tamis.targets.tvm.importing import Report, import_model
from tamis.targets.tvm.pipeline import FRONT, PREPACK, run_phases
from tamis.targets.tvm.settings import Settings

LIBRARY = "model.so"


def build(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Compile a model.

    Args:
        request: ``model`` (path of the ONNX file), ``target`` (see ``machine_target``), ``settings``, ``out`` (folder)
            and ``records`` (path of known schedules, or None).
        report: Gets the name of each phase.

    Returns:
        ``files``, the library first.
    """
    out = Path(request["out"])
    settings = Settings.model_validate(request["settings"])
    target = tvm.target.Target(request["target"])
    module = run_phases(import_model(Path(request["model"]), report), FRONT, target, settings, report)
    report({"phase": "schedule"})
    module = run_phases(module, (PREPACK,), target, settings, report)
    report({"phase": "generate code"})
    executable = relax.build(module, target)
    report({"phase": "link"})
    export_library(executable, out / LIBRARY, request["target"]["mtriple"])
    return {"files": [LIBRARY]}
