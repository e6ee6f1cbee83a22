"""What the tests of ``quantize-static`` share: a context with samples, and a run with everything to be asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds, PassContext, PassResult
from tamis.compiler.machine import find_machine
from tamis.compiler.target import Target
from tamis.passes.quantization.quantize_static import Options, QuantizeStatic
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tests.models import Array, check, random, run


def context(arrays: Sequence[Array], machine: str = "x86-64-avx2") -> PassContext:
    """ONNX Runtime on ``machine``, with samples for input ``x``."""

    def samples() -> Iterator[Feeds]:
        return ({"x": array} for array in arrays)

    return PassContext(target=Target("t", find_machine(machine), OnnxRuntime()), samples=samples)


def samples(*shape: int) -> list[Array]:
    """Eight samples."""
    return [random(*shape, seed=seed) for seed in range(1, 9)]


def sqnr(want: Array, got: Array) -> float:
    """Signal over the noise that quantization adds, dB."""
    noise = np.square(want.astype(np.float64) - got).sum()
    return float(10 * np.log10(np.square(want.astype(np.float64)).sum() / noise)) if noise else np.inf


@dataclass(frozen=True)
class Quantized:
    """A model after the pass.

    Args:
        model: Changed in place.
        result: Of the pass.
        operators: Those that ONNX Runtime executes, with their domains -> how many.
        reasons: Node -> why it was left alone.
        sqnr: The smallest of all outputs, on the first sample, without ONNX Runtime's optimizations.
    """

    model: ir.Model
    result: PassResult
    operators: dict[str, int]
    reasons: dict[str, str]
    sqnr: float


def quantized(found: ir.Model, arrays: Sequence[Array], options: Options | None = None) -> Quantized:
    """Quantize ``found`` in place; checked, with its names kept, and a second run finds nothing to do."""
    names = [v.name for v in (*found.graph.inputs, *found.graph.outputs)]
    want = run(found, {"x": arrays[0]})
    result = QuantizeStatic(options)(found, context(arrays))
    check(found)
    assert [v.name for v in (*found.graph.inputs, *found.graph.outputs)] == names
    got = run(found, {"x": arrays[0]})
    operators = OnnxRuntime().optimized_operators(found)
    assert operators is not None
    assert not QuantizeStatic(options)(found, context(arrays)).modified
    reasons = {skip.node: skip.reason for skip in result.skips}
    return Quantized(found, result, operators, reasons, min(sqnr(w, g) for w, g in zip(want, got, strict=True)))
