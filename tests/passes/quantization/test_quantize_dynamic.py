from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import PassContext, PassResult
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import runtime_class
from tamis.compiler.target import Target
from tamis.passes.quantization.quantize_dynamic import Options, QuantizeDynamic
from tests.models import Array, check, elements, model, nodes, op_types, random, run

W = random(16, 8, seed=1)
X = random(5, 16, seed=2)
MATMUL = "g (float[N, 16] x) => (float[N, 8] y) { y = MatMul(x, w) }"


def quantize(found: ir.Model, **options: Any) -> PassResult:
    """Run the pass twice: the model stays valid, and the second run finds nothing to do."""
    chosen = Options(**{"min_elements": 0, **options})
    result = QuantizeDynamic(chosen)(found)
    assert result.modified == bool(result.counts)
    check(found)
    assert not QuantizeDynamic(chosen)(found).modified
    return result


def sqnr(wanted: list[Array], found: list[Array]) -> float:
    """Signal-to-noise ratio of the first output, dB."""
    return float(10 * np.log10(np.sum(wanted[0] ** 2) / np.sum((wanted[0] - found[0]) ** 2)))


@pytest.mark.parametrize("weights", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_matmul(weights: str, per_channel: bool) -> None:
    found = model(MATMUL, w=W)
    wanted = run(found, {"x": X})
    assert quantize(found, weights=weights, per_channel=per_channel).counts == {"MatMul quantized": 1}
    assert op_types(found) == ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul"]
    assert "w" not in found.graph.initializers
    for optimize in (False, True):
        assert sqnr(wanted, run(found, {"x": X}, optimize=optimize)) > (30 if per_channel else 27)


def test_values_are_those_of_the_formula() -> None:
    found = model(MATMUL, w=W)
    quantize(found)
    scale = np.float32((X.max() - X.min()) / 255)
    zero = np.rint(-X.min() / scale)
    xq = np.clip(np.rint(X / scale) + zero, 0, 255)
    wq = elements(found, next(n for n in found.graph.initializers if n.endswith("quantized"))).astype(np.float64)
    sw = elements(found, next(n for n in found.graph.initializers if n.endswith("scale"))).astype(np.float64)
    np.testing.assert_allclose(run(found, {"x": X})[0], ((xq - zero) @ wq) * scale * sw, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    graph = f"""g (float[5, 16] x) => (float[5, 8] y) {{
        y = Gemm<alpha = 0.5, beta = 2.0, transB = {transposed}>(x, w, b)
    }}"""
    found = model(graph, w=np.ascontiguousarray(W.T) if transposed else W, b=random(8))
    wanted = run(found, {"x": X})
    assert quantize(found).counts == {"Gemm quantized": 1}
    assert op_types(found)[-1] == "Add"
    assert sqnr(wanted, run(found, {"x": X})) > 30


def test_text(golden: Callable[[ir.Model, str], None]) -> None:
    graph = """g (float[N, 2] x) => (float[N, 2] y, float[N, 2] z) {
        [first] t = MatMul(x, w)
        y = Relu(t)
        [second] z = Gemm(x, w, b)
    }"""
    found = model(graph, w=np.array([[1, 2], [-0.5, 1]], np.float32), b=np.array([1, 2], np.float32))
    quantize(found)
    golden(found, "quantize-dynamic/shared-activation")


def test_products_of_one_value_share_its_quantization_and_a_shared_weight() -> None:
    graph = "g (float[N, 16] x) => (float[N, 8] y) { a = MatMul(x, w)\n b = MatMul(x, w)\n y = Add(a, b) }"
    found = model(graph, w=W)
    quantize(found)
    assert op_types(found).count("DynamicQuantizeLinear") == 1
    assert len(found.graph.initializers) == 2


def test_different_weights_are_not_shared() -> None:
    graph = "g (float[N, 16] x) => (float[N, 8] y) { a = MatMul(x, v)\n b = MatMul(x, w)\n y = Sub(a, b) }"
    found = model(graph, v=W, w=random(16, 8, seed=7))
    wanted = run(found, {"x": X})
    quantize(found)
    assert sqnr(wanted, run(found, {"x": X})) > 30


@pytest.mark.parametrize(("machine", "largest"), [("x86-64-avx2", 64), ("x86-64-avx512-vnni", 127), (None, 64)])
def test_weights_stay_pair_safe_where_the_machine_saturates(machine: str | None, largest: int) -> None:
    target = None if machine is None else Target("t", find_machine(machine), runtime_class("onnxruntime")())
    found = model(MATMUL, w=np.ones((16, 8), np.float32))
    QuantizeDynamic(Options(min_elements=0))(found, PassContext(target=target))
    assert elements(found, next(n for n in found.graph.initializers if n.endswith("quantized"))).max() == largest


def test_weight_with_other_readers_stays_for_them() -> None:
    found = model("g (float[N, 16] x) => (float[N, 8] y, float[16, 8] v) { y = MatMul(x, w)\n v = Neg(w) }", w=W)
    quantize(found)
    assert np.array_equal(elements(found, "w"), W)


def test_output_keeps_its_name_and_several_readers() -> None:
    graph = "g (float[N, 16] x) => (float[N, 8] t, float[N, 8] y, float[N, 8] z) { t = MatMul(x, w)\n y = Relu(t)\n z = Neg(t) }"
    found = model(graph, w=W)
    wanted = run(found, {"x": X})
    quantize(found)
    assert [v.name for v in found.graph.outputs] == ["t", "y", "z"]
    assert sqnr(wanted, run(found, {"x": X})) > 30


def test_onnxruntime_runs_one_fused_integer_kernel(tmp_path: Path) -> None:
    import onnxruntime

    found = model("g (float[N, 16] x) => (float[N, 8] y) { t = MatMul(x, w)\n y = Add(t, b) }", w=W, b=random(8))
    quantize(found)
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(ir.to_proto(found).SerializeToString(), settings)
    optimized = onnx.load(tmp_path / "optimized.onnx")
    assert [n.op_type for n in optimized.graph.node] == ["DynamicQuantizeMatMul"]


LOOKUP = "g (int64[A, B] i) => (float[A, B, 8] y) { y = Gather(w, i) }"


def test_tables_of_lookups_are_stored_in_int8_with_a_scale_a_row() -> None:
    table = W * np.geomspace(0.01, 10, 16, dtype=np.float32)[:, None]
    found = model(LOOKUP, w=table)
    feeds = {"i": np.array([[0, 15, -1], [3, 3, -16]])}
    wanted = run(found, feeds)
    assert quantize(found).counts == {"look-ups in int8": 1}
    assert op_types(found) == ["Gather", "Cast", "Gather", "Mul"]
    assert sorted(found.graph.initializers) == ["w_int8", "w_scale"]
    for optimize in (False, True):
        error = np.abs(run(found, feeds, optimize=optimize)[0] - wanted[0])
        assert np.all(error <= np.abs(table).max(axis=1)[feeds["i"]][..., None] / 253)


def test_lookups_share_their_table_also_from_a_subgraph() -> None:
    graph = """g (int64[N] i, bool c) => (float[N, 8] y, float[N, 8] z) {
        z = Gather(w, i)
        y = If(c) <then_branch = a () => (float[N, 8] p) { p = Gather(w, i) },
                  else_branch = b () => (float[N, 8] q) { q = Identity(z) }>
    }"""
    found = model(graph, w=W)
    feeds = {"i": np.array([2, 5]), "c": np.array(True)}
    wanted = run(found, feeds)
    assert quantize(found).counts == {"look-ups in int8": 2}
    assert sorted(found.graph.initializers) == ["w_int8", "w_scale"]
    assert [v.name for v in found.graph.outputs] == ["y", "z"]
    assert sqnr(wanted, run(found, feeds)) > 40


LOOKUPS_LEFT = {
    "other reader": (
        "g (int64[N] i) => (float[N, 8] y, float[16, 8] z) { y = Gather(w, i)\n z = Neg(w) }",
        "table stays in float32 for other readers",
    ),
    "columns": (
        "g (int64[N] i) => (float[16, N] y) { y = Gather<axis = 1>(w, i) }",
        "look-up is not of rows of a matrix",
    ),
    "short rows": ("g (int64[N] i) => (float[N, 3] y) { y = Gather(s, i) }", "rows are too short for a scale each"),
    "infinite": ("g (int64[N] i) => (float[N, 8] y) { y = Gather(t, i) }", "table is not finite"),
}


@pytest.mark.parametrize(("graph", "reason"), LOOKUPS_LEFT.values(), ids=LOOKUPS_LEFT.keys())
def test_lookups_that_stay(graph: str, reason: str) -> None:
    result = quantize(model(graph, w=W, t=np.full((16, 8), np.nan, np.float32), s=random(16, 3)))
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


def test_embeddings_can_be_left() -> None:
    assert not quantize(model(LOOKUP, w=W), embeddings=False).modified


def test_weights_inside_a_subgraph() -> None:
    graph = """g (float[N, 16] x, bool c) => (float[N, 8] y) {
        y = If(c) <then_branch = a () => (float[N, 8] p) { p = MatMul(x, w) },
                  else_branch = b () => (float[N, 8] q) { q = MatMul(x, w) }>
    }"""
    found = model(graph, w=W)
    feeds = [{"x": X, "c": np.array(flag)} for flag in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert quantize(found).counts == {"MatMul quantized": 2}
    assert "MatMul" not in [n.op_type for n in nodes(found)]
    assert all(sqnr(w, run(found, f)) > 30 for f, w in zip(feeds, wanted, strict=True))


NEAR_MISSES = {
    "dynamic weight": (
        "g (float[N, 16] x, float[16, 8] v) => (float[N, 8] y) { y = MatMul(x, v) }",
        "weight is not constant",
    ),
    "stacked weight": ("g (float[2, N, 16] x) => (float[2, N, 8] y) { y = MatMul(x, s) }", "weight is not a matrix"),
    "transposed input": (
        "g (float[16, N] x) => (float[N, 8] y) { y = Gemm<transA = 1>(x, w) }",
        "first input of Gemm is transposed",
    ),
    "scaled dynamic bias": (
        "g (float[N, 16] x, float[8] b) => (float[N, 8] y) { y = Gemm<beta = 2.0>(x, w, b) }",
        "bias of Gemm is scaled and not constant",
    ),
    "float64": ("g (double[N, 16] x) => (double[N, 8] y) { y = MatMul(x, d) }", "weight is not float32"),
    "infinite": ("g (float[N, 16] x) => (float[N, 8] y) { y = MatMul(x, i) }", "weight is empty or not finite"),
}


@pytest.mark.parametrize(("graph", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_stay(graph: str, reason: str) -> None:
    infinite = W.copy()
    infinite[0, 0] = np.inf
    found = model(graph, w=W, s=random(2, 16, 8), d=W.astype(np.float64), i=infinite)
    result = quantize(found)
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


NAMED = "g (float[N, 16] x) => (float[N, 8] y) { [head] y = MatMul(x, w) }"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"min_elements": 129}, "weight has fewer elements than min_elements"),
        ({"exclude": ("h*",)}, "matched by exclude"),
        ({"include": ("body*",)}, "not matched by include"),
    ],
)
def test_small_and_excluded_nodes_stay(options: dict[str, Any], reason: str) -> None:
    assert [s.reason for s in quantize(model(NAMED, w=W), **options).skips] == [reason]


def test_included_nodes_at_the_limit_are_quantized() -> None:
    assert quantize(model(NAMED, w=W), min_elements=128, include=("head",)).modified


def test_old_opset_is_refused() -> None:
    with pytest.raises(PreconditionError, match=r"opset 11 or later.*found 10"):
        QuantizeDynamic()(model(MATMUL, 10, w=W))
