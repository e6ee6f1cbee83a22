"""The command ``build``: an ONNX file to a library for one machine. Runs in the compiler process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from tamis.targets.links.tvm_library import WEIGHTS
from tamis.targets.tvm.export import export_library
from tamis.targets.tvm.gpu.build_cuda import build_cuda
from tamis.targets.tvm.importing import Report, import_model
from tamis.targets.tvm.packed_products import count_products
from tamis.targets.tvm.pipeline import FRONT, PREPACK, run_phases
from tamis.targets.tvm.settings import Settings
from tamis.targets.tvm.tuning.apply_schedules import apply_schedules
from tamis.targets.tvm.tuning.records import read_records
from tamis.targets.tvm.weights_beside import write_weights

LIBRARY = "model.so"


def build(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Compile a model.

    Args:
        request: ``model`` (path of the ONNX file), ``target`` (see ``machine_target``), ``settings``, ``out`` (folder),
            ``known`` (path of schedules as JSON lines, or None) and ``gpu`` (that section of the machine, or None).
        report: Gets the name of each phase.

    Returns:
        ``files``, the library first, and ``schedules``, how many kernels got a tuned or a default one, and
        ``integer_products``, how many are computed in 8-bit integers; for a GPU ``kernels`` instead, what each takes of it.
    """
    out = Path(request["out"])
    module = import_model(Path(request["model"]), report)
    if request["gpu"] is not None:
        return build_cuda(module, request["target"], out, request["gpu"], report)
    settings = Settings.model_validate(request["settings"])
    target = tvm.target.Target(request["target"])
    module = run_phases(module, FRONT, target, settings, report)
    products = count_products(module)
    report({"phase": "schedule"})
    known = read_records(Path(request["known"]) if request["known"] else None)
    module, counts = apply_schedules(module, target, known)
    module = run_phases(module, (PREPACK,), target, settings, report)
    files = [LIBRARY]
    if settings.weights == "beside":
        report({"phase": "write weights"})
        module = write_weights(module, out / WEIGHTS)
        files.append(WEIGHTS)
    report({"phase": "generate code"})
    executable = relax.build(module, target)
    report({"phase": "link"})
    export_library(executable, out / LIBRARY, request["target"]["mtriple"])
    return {"files": files, "schedules": counts.to_json(), "integer_products": products}
