"""A model as legalization leaves it: functions inlined, constants as initializers."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common


def normalized(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with its own functions inlined and its constants as initializers."""
    found = ir.from_proto(model)
    common.InlinePass()(found)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(found)
    return ir.to_proto(found)
