"""Make static what the recipe fixes: sizes, inputs that have one value only, and all that follows from them.

::

    x: [N, S], recipe says {shape: [1, S], S: [576, 576]}   ->  x: [1, 576]
    rate: int64, recipe says {range: [16000, 16000]}        ->  its readers read the constant 16000
    If (rate == 16000) {...} else {...}                     ->  the branch that runs
    Shape -> Gather -> Concat -> Reshape                    ->  initializer -> Reshape

TVM wants shapes, axes, pads and the like as constants, and code for one size is faster than code for many.

*Refuses*: inputs of floats, whose only value could be reached by rounding; dimensions with a range stay symbolic.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Stage
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.compiler.registry import pass_class
from tamis.compiler.rewriting.constants import constant_value
from tamis.compiler.rewriting.graph_edit import Names


class Options(PassOptions):
    """Options of ``fix-shapes``."""


class FixShapes(GraphPass[Options]):
    """Set the sizes that the recipe fixes, then infer shapes and fold what depends on them.

    *Match*: graph inputs that the recipe gives a shape; integer inputs whose range has one value; then what
    ``canonicalize`` matches.

    *Rewrite*: a dimension whose range has one size gets that size. An input with one value stays an input, but its
    readers get a constant. The rest is ``canonicalize``: it runs before the other legalizations, which want to know
    shapes, and after them, since what they make may be folded.

    *Preserves*: bits, for all inputs that the recipe allows.

    *References*: the pass ``canonicalize``.
    """

    name = "fix-shapes"
    stage = Stage.LAYOUT
    contract = Contract.EXACT
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        inputs = None if context.inputs is None else _without_single_sizes(context.inputs)
        fixed = 0 if inputs is None else _fix_values(model, inputs)
        result = pass_class("canonicalize")()(model, replace(context, inputs=inputs))
        counts = {"inputs fixed": fixed} if fixed else {}
        return PassResult(model, fixed > 0 or result.modified, {**counts, **result.counts}, result.skips)


def _without_single_sizes(inputs: InputSpec) -> InputSpec:
    """``inputs`` with the dynamic dimensions that have only one size fixed to it."""
    single = {name: low for name, (low, high) in inputs.dims.items() if low == high}
    tensors = tuple(
        replace(t, shape=tuple(single.get(d, d) if isinstance(d, str) else d for d in t.shape)) for t in inputs.tensors
    )
    return InputSpec(tensors, {name: limits for name, limits in inputs.dims.items() if name not in single})


def _fix_values(model: ir.Model, inputs: InputSpec) -> int:
    """Let the readers of inputs that have one value read a constant; returns how many inputs lost their readers."""
    specs = {t.name: t for t in inputs.tensors}
    names: Names | None = None
    count = 0
    for value in model.graph.inputs:
        array = _only_value(specs.get(value.name or ""))
        if array is None or not value.uses():
            continue
        names = names or Names(model)
        name = names.fresh(f"{value.name}_fixed")
        constant = constant_value(name, ir.tensor(array, name=name))
        model.graph.register_initializer(constant)
        value.replace_all_uses_with(constant, replace_graph_outputs=False)
        count += 1
    return count


def _only_value(spec: TensorSpec | None) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
    if spec is None or spec.bounds is None or spec.dtype.kind not in "iu" or spec.bounds[0] != spec.bounds[1]:
        return None
    shape = [d for d in spec.shape if isinstance(d, int)]
    return np.full(shape, int(spec.bounds[0]), spec.dtype) if len(shape) == len(spec.shape) else None
