"""``tamis analyze --quantization``: what 8 bits would do to each layer of a float model, or did to those of a quantized one."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from tamis.compiler.analysis.finding import Finding
from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import PassContext
from tamis.passes.quantization.analysis.float_analysis import analyse_float
from tamis.passes.quantization.analysis.integer_analysis import analyse_integers, is_quantized


def analyse_quantization(model: ir.Model, context: PassContext, progress: Callable[[float, str], None]) -> Finding:
    """Analyse ``model``, which may be changed, for the target of ``context``.

    Raises:
        PreconditionError: The target has no 8-bit kernels, or there are no samples.
    """
    target = context.target
    kernels = None if target is None else target.runtime.int8_kernels(target.machine)
    if target is None or kernels is None or context.samples is None:
        raise PreconditionError(
            "quantization cannot be analysed",
            where="analysis quantization",
            expected="samples, and a target with 8-bit integer kernels",
            found="no samples" if context.samples is None else "no such kernels",
            fix="give --data, or choose another target",
        )
    if is_quantized(model):
        return analyse_integers(model, context)
    return analyse_float(model, context, kernels, progress)
