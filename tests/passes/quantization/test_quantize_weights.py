from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import PassContext, PassResult
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import runtime_class
from tamis.compiler.target import Target
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.quantization.quantize_weights import Options, QuantizeWeights
from tests.models import Array, check, elements, model, nodes, op_types, random, run

W = random(40, 8, seed=1)
X = random(5, 40, seed=2)
MATMUL = "g (float[N, 40] x) => (float[N, 8] y) { y = MatMul(x, w) }"
ONNXRUNTIME = Target("t", find_machine("x86-64-avx2"), runtime_class("onnxruntime")())


def quantize(
    found: ir.Model, target: Target | None = ONNXRUNTIME, samples: list[Any] | None = None, **options: Any
) -> PassResult:
    """Run the pass twice: the model stays valid, and the second run finds nothing to do."""
    infer_shapes(found)
    chosen = Options(**{"min_elements": 0, "block_size": 16, **options})
    context = PassContext(target=target, samples=None if samples is None else lambda: iter(samples))
    result = QuantizeWeights(chosen)(found, context)
    assert result.modified == bool(result.counts)
    check(found)
    assert not QuantizeWeights(chosen)(found, context).modified
    return result


def sqnr(wanted: list[Array], found: list[Array]) -> float:
    """Signal-to-noise ratio of the first output, dB."""
    return float(10 * np.log10(np.sum(wanted[0] ** 2) / np.sum((wanted[0] - found[0]) ** 2)))


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("activations", ["int8", "float32"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("bits", "least"), [(4, 17), (8, 38)])
def test_matmul(bits: int, least: float, symmetric: bool, activations: str, optimize: bool) -> None:
    found = model(MATMUL, w=W)
    wanted = run(found, {"x": X})
    result = quantize(found, bits=bits, symmetric=symmetric, activations=activations)
    assert result.counts == {f"MatMul in {bits} bits": 1}
    assert op_types(found) == ["MatMulNBits"]
    assert "w" not in found.graph.initializers
    assert elements(found, f"w_int{bits}").shape == (8, 3, 2 * bits)
    assert sqnr(wanted, run(found, {"x": X}, optimize=optimize)) > least


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    graph = f"""g (float[5, 40] x) => (float[5, 8] y) {{
        y = Gemm<alpha = 0.5, beta = 2.0, transB = {transposed}>(x, w, b)
    }}"""
    found = model(graph, w=np.ascontiguousarray(W.T) if transposed else W, b=random(8))
    wanted = run(found, {"x": X})
    assert quantize(found, bits=8).counts == {"Gemm in 8 bits": 1}
    assert op_types(found) == ["MatMulNBits", "Add"]
    assert sqnr(wanted, run(found, {"x": X})) > 38


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_lookup_also_with_negative_indices(bits: int, symmetric: bool) -> None:
    found = model("g (int64[A, B] i) => (float[A, B, 32] y) { y = Gather(w, i) }", w=random(50, 32))
    feeds = {"i": np.array([[0, 49, 7], [-1, 3, -50]])}
    wanted = run(found, feeds)
    assert quantize(found, bits=bits, symmetric=symmetric).counts == {f"Gather in {bits} bits": 1}
    assert op_types(found) == ["GatherBlockQuantized"]
    assert elements(found, f"w_int{bits}").shape == (50, 4 * bits)
    assert sqnr(wanted, run(found, feeds)) > (17 if bits == 4 else 38)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("product", ["MatMul(x, w)", "Gemm<alpha = 0.5>(x, w, b)"])
def test_runtimes_without_kernels_dequantize_blocks(product: str, bits: int, symmetric: bool) -> None:
    found = model(f"g (float[5, 40] x) => (float[5, 8] y) {{ y = {product} }}", 21, w=W, b=random(8))
    wanted = run(found, {"x": X})
    quantize(found, None, bits=bits, symmetric=symmetric)
    assert op_types(found) == ["DequantizeLinear", product.split("(")[0].split("<")[0]]
    assert found.ir_version >= 10
    assert sqnr(wanted, run(found, {"x": X})) > (17 if bits == 4 else 38)


def test_the_target_decides() -> None:
    tvm = Target("t", find_machine("x86-64-avx2"), runtime_class("tvm")())
    found = model(MATMUL, 21, w=W)
    quantize(found, tvm)
    assert op_types(found) == ["DequantizeLinear", "MatMul"]


def test_samples_bring_the_product_nearer() -> None:
    x = random(60, 6, seed=5) @ random(6, 40, seed=6) + 0.1 * random(60, 40, seed=7)
    found = {}
    for rounding in ("nearest", "optimal"):
        graph = model("g (float[N, 40] x) => (float[N, 8] y) { t = Neg(x)\n y = MatMul(t, w) }", w=W)
        wanted = run(graph, {"x": x})
        samples = [{"x": x[:30]}, {"x": x[30:]}]
        quantize(graph, samples=samples, rounding=rounding, activations="float32")
        found[rounding] = sqnr(wanted, run(graph, {"x": x}))
    assert found["optimal"] > found["nearest"] + 3


def test_samples_that_are_not_finite_are_left_out() -> None:
    found = model(MATMUL, w=W)
    quantize(found, samples=[{"x": np.full((1, 40), np.inf, np.float32)}])
    assert op_types(found) == ["MatMulNBits"]


def test_shared_weight_is_stored_once_and_kept_for_other_readers() -> None:
    graph = """g (float[N, 40] x) => (float[N, 8] y, float[40, 8] v) {
        t = Neg(x)\n a = MatMul(x, w)\n b = MatMul(t, w)\n y = Add(a, b)\n v = Neg(w)
    }"""
    found = model(graph, w=W)
    assert quantize(found, samples=[{"x": X}]).counts == {"MatMul in 4 bits": 2}
    assert sorted(found.graph.initializers) == ["w", "w_int4", "w_scale", "w_zero_point"]


def test_output_keeps_its_name_and_several_readers() -> None:
    graph = "g (float[N, 40] x) => (float[N, 8] t, float[N, 8] y) { t = MatMul(x, w)\n y = Relu(t) }"
    found = model(graph, w=W)
    wanted = run(found, {"x": X})
    quantize(found)
    assert [v.name for v in found.graph.outputs] == ["t", "y"]
    assert sqnr(wanted, run(found, {"x": X})) > 17


@pytest.mark.parametrize("target", [ONNXRUNTIME, None])
def test_weights_inside_subgraphs_stay_where_they_were(target: Target | None) -> None:
    graph = """g (float[N, 40] x, bool c) => (float[N, 8] y) {
        y = If(c) <then_branch = a () => (float[N, 8] p) { p = MatMul(x, w) },
                  else_branch = b () => (float[N, 8] q) { q = MatMul(x, w) }>
    }"""
    found = model(graph, 21, w=W)
    feeds = [{"x": X, "c": np.array(flag)} for flag in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert quantize(found, target).counts == {"MatMul in 4 bits": 2}
    assert sorted(found.graph.initializers) == ["w_int4", "w_scale", "w_zero_point"]
    assert sum(n.op_type in ("MatMulNBits", "DequantizeLinear") for n in nodes(found)) == 2
    assert all(sqnr(w, run(found, f)) > 17 for f, w in zip(feeds, wanted, strict=True))


NEAR_MISSES = {
    "dynamic weight": (
        "g (float[N, 40] x, float[40, 8] v) => (float[N, 8] y) { y = MatMul(x, v) }",
        "weight is not constant",
    ),
    "vector": (
        "g (float[40] x) => (float[8] y) { y = MatMul(x, w) }",
        "first input is a vector or of unknown rank",
    ),
    "transposed input": (
        "g (float[40, N] x) => (float[N, 8] y) { y = Gemm<transA = 1>(x, w) }",
        "first input of Gemm is transposed",
    ),
    "columns": (
        "g (int64[N] i) => (float[40, N] y) { y = Gather<axis = 1>(w, i) }",
        "look-up is not of rows of a matrix",
    ),
    "short rows": (
        "g (int64[N] i) => (float[N, 8] y) { y = Gather(w, i) }",
        "blocks do not divide the rows of the table",
    ),
    "infinite table": ("g (int64[N] i) => (float[N, 16] y) { y = Gather(t, i) }", "table is not finite"),
}


@pytest.mark.parametrize(("graph", "reason"), NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses_stay(graph: str, reason: str) -> None:
    result = quantize(model(graph, w=W, t=np.full((4, 16), np.inf, np.float32)))
    assert not result.modified
    assert [s.reason for s in result.skips] == [reason]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"min_elements": 321}, "weight has fewer elements than min_elements"),
        ({"exclude": ("h*",)}, "matched by exclude"),
        ({"include": ("body*",)}, "not matched by include"),
    ],
)
def test_small_and_excluded_nodes_stay(options: dict[str, Any], reason: str) -> None:
    found = model("g (float[N, 40] x) => (float[N, 8] y) { [head] y = MatMul(x, w) }", w=W)
    assert [s.reason for s in quantize(found, **options).skips] == [reason]


def test_embeddings_are_left_if_asked_or_without_a_kernel() -> None:
    graph = "g (int64[N] i) => (float[N, 32] y) { y = Gather(w, i) }"
    assert quantize(model(graph, w=random(50, 32)), embeddings=False).skips == ()
    skips = quantize(model(graph, 21, w=random(50, 32)), None).skips
    assert [s.reason for s in skips] == ["the target has no kernel for look-ups in few bits"]


def test_old_opset_is_refused_where_the_target_has_no_kernel() -> None:
    with pytest.raises(PreconditionError, match=r"opset 21 or later.*found 17"):
        QuantizeWeights()(model(MATMUL, w=W))
