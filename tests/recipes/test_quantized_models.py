"""Models that others have quantized go through every shipped recipe unharmed, and their integer kernels still fire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from benchmarks.corpus.steps import contract_here, host, legalization
from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import Feeds, GraphPass, PassContext
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.compiler.prepare import plan_target
from tamis.compiler.recipe_file import load_recipe
from tamis.compiler.registry import recipe_names
from tests.models import check, random, run
from tests.passes.quantization.quantized import FORMS, X, quantized
from tests.properties.contracts import verifier

SPEC = InputSpec((TensorSpec("x", np.dtype(np.float32), ("N", 3, 12, 12)),), {"N": (1, 3)})
SHIPPED = ("QDQ", "QDQ per channel", "QOperator", "dynamic")
REQUANTIZE = frozenset({"dequantize", "quantize-static"})
"""With one of these a recipe places integer kernels by its own judgement."""


def samples() -> Iterator[Feeds]:
    """What the passes may calibrate on."""
    for seed in range(2):
        yield {"x": random(2, 3, 12, 12, seed=70 + seed)}


def recipe_steps(name: str) -> list[GraphPass[Any]]:
    """All that a compile applies, in order."""
    recipe = load_recipe(name).recipe
    return [*plan_target(recipe.targets[0], recipe).steps, *legalization()]


def apply(given: ir.Model, steps: list[GraphPass[Any]]) -> ir.Model:
    """The model after all steps, each held to its contract."""
    context, judge, found = PassContext(inputs=SPEC, target=host(), samples=samples), verifier(given, SPEC), given
    for step in steps:
        candidate = found.clone()
        try:
            modified = step(candidate, context).modified
        except PreconditionError:
            assert step.options.on_violation == "skip"
            continue
        if not modified:
            continue
        check(candidate)
        verdict = judge.check(candidate, contract_here(step, found))
        assert verdict.ok, f"{step.name} on {verdict.case}: {verdict.detail}"
        judge.accept(verdict)
        found = candidate
    return found


def integer_kernels(found: ir.Model, folder: Path) -> Counter[str]:
    """Operators with integer arithmetic in the graph that ONNX Runtime executes."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(ir.to_proto(found).SerializeToString(), settings, providers=["CPUExecutionProvider"])
    optimized = onnx.load(settings.optimized_model_filepath)
    return Counter(
        node.op_type
        for node in optimized.graph.node
        if node.op_type.startswith(("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"))
    )


@pytest.mark.parametrize("recipe", recipe_names())
@pytest.mark.parametrize("form", SHIPPED)
def test_it_goes_through_unharmed(recipe: str, form: str, tmp_path: Path) -> None:
    given, steps = quantized(form), recipe_steps(recipe)
    found = apply(given, steps)
    assert [(v.name, v.dtype) for v in found.graph.inputs] == [("x", ir.DataType.FLOAT)]
    before, after = integer_kernels(given, tmp_path), integer_kernels(found, tmp_path)
    assert before
    if not any(step.name in REQUANTIZE for step in steps):
        assert after.total() >= before.total(), (before, after)


@pytest.mark.parametrize("form", FORMS)
def test_the_recipe_without_loss_loses_nothing(form: str) -> None:
    given = quantized(form)
    found, context = given.clone(), PassContext(inputs=SPEC, target=host())
    for step in recipe_steps("lossless"):
        step(found, context)
    wanted, got = run(given, X)[0], run(found, X)[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
