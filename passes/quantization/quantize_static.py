"""Compute convolutions and matrix products, and what lies between them, in 8-bit integers.

::

    Conv(x, W, b) -> Clip   ->   Q(Conv(DQ(Q(x)), DQ(Wq), DQ(bq)))

*Refuses*: targets without 8-bit kernels; recipes without calibration data; opsets below 11, and below 13 models that
cannot be raised to it. Left alone: products in subgraphs, and those whose weight is not constant, float32 and finite;
products that read or give what is NaN, infinite or always 0 on the calibration samples; products that ``include`` and
``exclude`` leave out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.errors import PostconditionError
from tamis.compiler.graph_pass import Contract, Detail, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.judge import Judge
from tamis.passes.quantization.calibration.ranges import Method
from tamis.passes.quantization.mixed.mixed_plan import chosen_units, mixed_plan
from tamis.passes.quantization.placement.calibrated_units import calibrate
from tamis.passes.quantization.placement.integer_check import Floats, float_nodes
from tamis.passes.quantization.placement.integer_forms import to_integer_forms, undo_forms
from tamis.passes.quantization.placement.raise_opset import obstacle
from tamis.passes.quantization.placement.static_quantizer import StaticQuantizer, key_of
from tamis.passes.quantization.placement.unit_weights import QuantizedWeight, nearest, optimal
from tamis.passes.quantization.placement.units import Unit, candidates
from tamis.passes.quantization.rounding.bias_correction import correct_biases


class Options(PassOptions):
    """Options of ``quantize-static``."""

    activations: Method = Field(
        "mse",
        description="How ranges of activations are chosen: all that was seen (minmax), all but one value in 10,000 "
        "(percentile), least divergence (entropy), or least squared error (mse).",
    )
    weights_rounding: Literal["nearest", "optimal"] = Field(
        "nearest",
        description="optimal: weights of an output channel are rounded together, so that the layer's output on the "
        "calibration samples changes least; nearest: each on its own.",
    )
    per_channel: bool = Field(
        True,
        description="One scale an output channel of weights instead of one a weight; without, rounding is nearest.",
    )
    pair_safe: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether weights are kept from saturating pairs of products: where the machine's products do "
        "(auto), always, or never.",
    )
    bias_correction: bool = Field(
        True,
        description="Shift biases by the mean error that quantization leaves, unless the outputs on samples kept apart, or "
        "the task metric if there are labelled samples, get worse by it.",
    )
    mix: Literal["all", "measured"] = Field(
        "all",
        description="all: everything with an integer kernel; measured: the mix of float and integer layers that is "
        "fastest on the target within the accuracy budget.",
    )
    include: tuple[str, ...] = Field(("*",), description="Products to quantize, by globs of their nodes' names.")
    exclude: tuple[str, ...] = Field((), description="Products to leave in floats, by globs of their nodes' names.")
    allow_float: tuple[str, ...] = Field(
        (),
        description="Nodes, by globs, that the target may compute in floats although they were quantized; elsewhere "
        "that is an error.",
    )


class QuantizeStatic(GraphPass[Options]):
    """Quantize weights and activations to 8 bits, with scales from calibration samples.

    *Match*: Conv, MatMul and Gemm with constant weights, and the operators between them that the target's runtime
    computes in integers (``target.runtime.int8_kernels``).

    *Rewrite*: QuantizeLinear and DequantizeLinear around every value of an island, DequantizeLinear of int8 weights
    (one scale an output channel) and of int32 biases (scale: activation's times weight's). ReLU and Clip go: the Q behind
    clips. HardSigmoid becomes an Add whose Q clips.

    *Shapes*: ``Wq: (C_out, C_in / groups, *k)`` or ``(K, N)`` int8, scales ``(C_out,)`` or ``(N,)`` float32; activations
    one scale a tensor.

    *Preserves*: names, shapes and types; values up to 8-bit rounding. On machines whose products saturate, weights are
    scaled so that no pair of products can. Afterwards the graph that the runtime executes must compute
    what was planned on integer kernels.

    *References*: Jacob et al., 2018 (1712.05877), section 2; Wu et al., "Integer Quantization for Deep Learning
    Inference", 2020 (2004.09602).
    """

    name = "quantize-static"
    stage = Stage.QUANTIZE
    contract = Contract.LOSSY
    speed_motivated = True
    needs_samples = True
    options_type = Options

    def requires(self, model: ir.Model, context: PassContext) -> None:
        if context.target is None or context.target.runtime.int8_kernels(context.target.machine) is None:
            name = "none" if context.target is None else context.target.name
            raise self.refuse(
                "the target has no 8-bit integer kernels",
                expected="a runtime and machine with 8-bit kernels, e.g. onnxruntime on a CPU",
                found=f"target {name}",
                fix="leave the step out, or choose another target",
            )
        if context.samples is None:
            raise self.refuse(
                "there is no calibration data",
                expected="'data: calibration' in the recipe",
                fix="add some hundred samples that are typical of the model's use, or use quantize-dynamic",
            )
        if reason := obstacle(model):
            raise self.refuse(
                "the operators that quantize each channel are not in the model's opset, and it cannot be raised",
                expected="ONNX opset 13 or later",
                found=reason,
                fix="export the model again with opset 13 or later",
            )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        assert context.target is not None
        kernels = context.target.runtime.int8_kernels(context.target.machine)
        assert kernels is not None
        units, skips = self._choose(candidates(model, kernels))
        if not units:
            return PassResult(model, modified=False, skips=tuple(skips))
        forms = to_integer_forms(model)
        calibrated = calibrate(model, kernels, units, context, self.options.activations)
        units = calibrated.units
        skips.extend(calibrated.skips)
        if not units:
            undo_forms(forms)
            return PassResult(model, modified=False, skips=tuple(skips))
        quantizer = StaticQuantizer(kernels, calibrated.ranges, self._weights(model, units, context), calibrated.barred)
        details: tuple[Detail, ...] = ()
        if self.options.mix == "measured":
            plan = mixed_plan(model, units, context, lambda m, some: quantizer.copy(m, [key_of(u) for u in some]))
            skips.extend(plan.skips())
            details = plan.details()
            units = chosen_units(plan, units)
            if not units:
                undo_forms(forms)
                return PassResult(model, modified=False, skips=tuple(skips), details=details)
        floats = model.clone()
        names = {node: node.name or str(node.outputs[0].name) for node in model.graph}
        values = {str(v.name): name for node, name in names.items() for v in node.outputs}
        values |= {str(v.name): unit.name for unit in units for node in unit.nodes for v in node.outputs}
        islands = quantizer.apply(model, {key_of(unit) for unit in units})
        values |= {str(v.name): names[node] for node, results in islands.results.items() for v in results}
        planned = [*islands.units, *islands.joined]
        undo_forms(forms, set(planned))
        counts = Counter(f"{node.op_type} quantized" for node in planned)
        if self.options.bias_correction:
            assert context.samples is not None
            corrected = correct_biases(model, floats, context.samples, accepts=_no_worse_than(model, context.judge))
            skips.extend(corrected.skips)
            counts["biases corrected"] = corrected.layers
        self._require_integers(float_nodes(model, islands, kernels, context.target), names, values)
        return PassResult(model, modified=True, counts=dict(+counts), skips=tuple(skips), details=details)

    def _weights(self, model: ir.Model, units: Sequence[Unit], context: PassContext) -> dict[str, QuantizedWeight]:
        assert context.target is not None and context.samples is not None
        safe = {"auto": context.target.machine.int8.saturates, "on": True, "off": False}[self.options.pair_safe]
        if self.options.weights_rounding == "optimal" and self.options.per_channel:
            rounded = optimal(model, units, context.samples, pair_safe=safe, seed=context.seed)
            return {key_of(unit): weight for unit, weight in rounded.items()}
        per_channel = self.options.per_channel
        return {key_of(unit): nearest(unit, per_channel=per_channel, pair_safe=safe) for unit in units}

    def _choose(self, found: Mapping[ir.Node, Unit | str]) -> tuple[list[Unit], list[Skip]]:
        units: list[Unit] = []
        skips: list[Skip] = []
        for node, unit in found.items():
            name = node.name or ""
            reason = unit if isinstance(unit, str) else None
            if not _matches(name, self.options.include):
                reason = "not matched by include"
            elif _matches(name, self.options.exclude):
                reason = "matched by exclude"
            if isinstance(unit, Unit) and reason is None:
                units.append(unit)
            else:
                skips.append(Skip(str(reason), name or str(node.outputs[0].name)))
        return units, skips

    def _require_integers(self, floats: Floats, names: Mapping[ir.Node, str], values: Mapping[str, str]) -> None:
        found = dict.fromkeys([*(names[node] for node in floats.nodes), *(values.get(v, v) for v in floats.values)])
        wrong = [name for name in found if not _matches(name, self.options.allow_float)]
        more = floats.more - len(found)
        if wrong or more > 0:
            raise PostconditionError(
                "the target computes quantized nodes in floats",
                where=f"pass {self.name}",
                expected="every quantized node on an integer kernel",
                found=", ".join([*wrong[:5], *(["..."] if wrong[5:] else [])]) or f"{more} products, of whatever name",
                fix="exclude the nodes, or name them in allow_float; please report the model's form",
            )


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _no_worse_than(model: ir.Model, judge: Judge | None) -> Callable[[], bool]:
    """Whether the task metric of ``model``, changed in place meanwhile, is at least what it is now; true without labels."""
    before = None if judge is None else judge.drop(model)
    if judge is None or before is None:
        return lambda: True
    return lambda: (after := judge.drop(model)) is not None and after <= before
