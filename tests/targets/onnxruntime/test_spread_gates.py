from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.session import import_onnxruntime
from tamis.targets.onnxruntime.settings import Settings
from tamis.targets.onnxruntime.spread_gates import SpreadGates
from tests.models import Array, check, model, op_types, random, run, same_bits

X = {"x": random(1, 16, 12, 12)}
WEIGHTS = {"w": 0.1 * random(16, 16, 3, 3), "f": 0.3 * random(16, 16, 1, 1)}


def net(
    lines: str = "y = Mul(t, g)",
    *,
    opset: int = 17,
    batch: str = "1",
    size: str = "12",
    gate: str = "g = Sigmoid(c)",
    **weights: Array,
) -> ir.Model:
    """A squeeze-and-excitation block with known shapes."""
    graph = f"""g (float[{batch}, 16, {size}, 12] x) => (float[{batch}, 16, {size}, 12] y) {{
        v = Conv<pads = [1, 1, 1, 1]>(x, w)
        t = Relu(v)
        p = GlobalAveragePool(t)
        c = Conv(p, f)
        {gate}
        {lines}
    }}"""
    found = model(graph, opset, **{**WEIGHTS, **weights})
    for node in found.graph:
        spatial = 1 if node.outputs[0].name in ("p", "c", "g") else 12
        first, height = (int(s) if s.isdigit() else s for s in (batch, size if spatial != 1 else "1"))
        node.outputs[0].shape = ir.Shape([first, 16, height, spatial])
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return found


def legalize(found: ir.Model) -> PassResult:
    result = SpreadGates()(found)
    check(found)
    assert not SpreadGates()(found).modified
    return result


@pytest.mark.parametrize("lines", ["y = Mul(t, g)", "y = Mul(g, t)"])
@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("batch", ["1", "N"])
def test_the_bits_stay(lines: str, opset: int, batch: str) -> None:
    found = net(lines, opset=opset, batch=batch)
    wanted = run(found, X)
    assert legalize(found).counts == {"fused": 1}
    assert op_types(found)[-2:] == ["Resize", "Mul"]
    assert same_bits(wanted, run(found, X))


def test_nothing_is_reordered_between_the_convolutions(tmp_path: Path) -> None:
    """Before, the whole tensor leaves the blocked layout for the product."""

    def reorderings(found: ir.Model) -> int:
        ort = import_onnxruntime()
        options = Settings(threads=1).session_options(ort)
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        ort.InferenceSession(ir.to_proto(found).SerializeToString(), options, providers=["CPUExecutionProvider"])
        return sum(node.op_type.startswith("Reorder") for node in ir.load(tmp_path / "optimized.onnx").graph)

    found = net("m = Mul(t, g) y = Conv<pads = [1, 1, 1, 1]>(m, w)")
    before = reorderings(found)
    legalize(found)
    assert reorderings(found) < before


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (net(size="H"), "the size of the image is not known"),
        (net("y = Mul(t, x)"), "no factor of one number a channel"),
        (net("y = Mul(x, g)"), "not behind a convolution"),
        (net(gate="g = Softmax<axis = 1>(c)"), "not behind a convolution"),
        (net("y = Mul(t, k)", k=random(1, 16, 1, 1)), "the gate is constant"),
    ],
)
def test_near_misses(found: ir.Model, reason: str) -> None:
    result = legalize(found)
    assert not result.modified
    assert {skip.reason for skip in result.skips} == {reason}


def test_old_models_are_left_alone() -> None:
    assert [skip.reason for skip in legalize(net(opset=10)).skips] == ["opset below 11"]


def test_a_gate_of_two_tensors() -> None:
    found = net("a = Mul(t, g) b = Mul(v, g) y = Add(a, b)")
    wanted = run(found, X)
    assert legalize(found).counts == {"fused": 2}
    assert same_bits(wanted, run(found, X))
    assert np.isfinite(wanted[0]).all()


def test_a_gated_tensor_may_be_gated_again() -> None:
    found = net("u = Mul(t, g) y = Mul(g, u)")
    wanted = run(found, X)
    assert legalize(found).counts == {"fused": 2}
    assert same_bits(wanted, run(found, X))
