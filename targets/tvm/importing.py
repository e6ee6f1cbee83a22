"""ONNX to Relax, telling which node is being converted. Runs in the compiler process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import tvm
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

Report = Callable[[dict[str, Any]], None]


class _TellingImporter(ONNXGraphImporter):  # type: ignore[misc]
    """TVM's importer, which reports each operator before it converts it: a crash can then be put down to it."""

    report: Report

    def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
        self.report({"phase": "import", "op": op_name, "node": str(attrs["tvm_custom"]["name"])})
        return super()._convert_operator(op_name, inputs, attrs, opset)


def import_model(path: Path, report: Report) -> tvm.IRModule:
    """Read an ONNX file as a module with one function ``main``.

    Weights become constants. Sizes that are names become symbolic variables, the same name the same variable.

    Args:
        path: A model that ``precheck`` has nothing against.
        report: Gets ``phase``, ``op`` and ``node`` before each node is converted.
    """
    model = onnx.load(path)
    initializers = {tensor.name for tensor in model.graph.initializer}
    variables: dict[str, Any] = {}
    shapes = {
        value.name: [
            variables.setdefault(d.dim_param, tvm.tirx.Var(d.dim_param, "int64")) if d.dim_param else d.dim_value
            for d in value.type.tensor_type.shape.dim
        ]
        for value in model.graph.input
        if value.name not in initializers
    }
    opset = max(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
    importer = _TellingImporter(shapes, "float32")
    importer.report = report
    return importer.from_onnx(model.graph, opset)
