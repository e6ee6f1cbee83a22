"""A second look in double precision, where two outputs in single precision differ by more than they should.

Rounding shrinks by nine digits, a wrong slice does not. ONNX's reference evaluator computes what ONNX Runtime has no kernel
for; it is slow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from tamis.compiler.graph_pass import Feeds

DOUBLE = ir.TensorType(ir.DataType.DOUBLE)


def run_in_double(model: ir.Model, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs of a copy of ``model`` whose float32 tensors are float64.

    Args:
        model: Without subgraphs.
        feeds: As for the model itself.
    """
    copy = model.clone()
    for value in copy.graph.initializers.values():
        if value.dtype is ir.DataType.FLOAT and value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float64), name=value.name)
            value.type = DOUBLE
    for value in (*copy.graph.inputs, *(v for node in copy.graph for v in node.outputs)):
        if value.dtype is ir.DataType.FLOAT:
            value.type = DOUBLE
    for node in copy.graph:
        if node.op_type == "Cast" and node.attributes.get_int("to") == ir.DataType.FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.DOUBLE)
    wide = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in feeds.items()}
    names = [str(v.name) for v in copy.graph.outputs]
    with np.errstate(over="ignore"):  # of Sigmoid, far from zero
        return dict(zip(names, ReferenceEvaluator(ir.to_proto(copy)).run(names, wide), strict=True))
