"""The pass ``quantize-static`` on small models: placement, numerics against the float model, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import PostconditionError, PreconditionError
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.machine import find_machine
from tamis.compiler.target import Target
from tamis.passes.quantization.quantize_static import Options, QuantizeStatic
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tests.models import Array, check, model, op_types, random, run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def context(*arrays: Array) -> PassContext:
    """A context of ONNX Runtime on an AVX2 machine, with samples for input ``x``."""

    def samples() -> Iterator[Feeds]:
        return ({"x": array} for array in arrays)

    return PassContext(target=Target("t", find_machine("x86-64-avx2"), OnnxRuntime()), samples=samples)


def samples(*shape: int) -> list[Array]:
    return [random(*shape, seed=seed) for seed in range(1, 9)]


def residual() -> ir.Model:
    """Two convolutions and a residual Add with a ReLU behind, pooling, and a matrix product."""
    return model(
        """g (float[1,8,8,8] x) => (float[1,4] y) {
            a = Conv<pads=[1,1,1,1]>(x, w, b)
            r = Clip(a, low, high)
            c = Conv<pads=[1,1,1,1]>(r, w, b)
            s = Add(c, r)
            t = Relu(s)
            p = GlobalAveragePool(t)
            f = Flatten(p)
            y = Gemm(f, v, d)
        }""",
        17,
        w=random(8, 8, 3, 3) * 0.1,
        b=random(8, seed=3),
        low=np.asarray(0, np.float32),
        high=np.asarray(6, np.float32),
        v=random(8, 4, seed=4),
        d=random(4, seed=5),
    )


def snr(want: Array, got: Array) -> float:
    return float(10 * np.log10(np.square(want).sum() / np.square(want - got).sum()))


def test_island_is_integer_from_end_to_end() -> None:
    found = residual()
    x = samples(1, 8, 8, 8)
    want = run(found, {"x": x[0]})[0]
    result = QuantizeStatic()(found, context(*x))
    check(found)
    assert result.modified and result.counts["Conv quantized"] == 2 and result.counts["Add quantized"] == 1
    assert not {"Clip", "Relu"} & set(op_types(found))
    operators = OnnxRuntime().optimized_operators(found)
    assert operators is not None
    assert operators["com.microsoft::QLinearConv"] == 2 and operators["com.microsoft::QGemm"] == 1
    assert operators["com.microsoft::QLinearAdd"] == 1
    assert operators["QuantizeLinear"] == 1 and "DequantizeLinear" not in operators
    assert snr(want, run(found, {"x": x[0]})[0]) > 30


def test_graph_output_keeps_its_name_and_comes_from_a_convolution() -> None:
    found = model("g (float[1,8,4,4] x) => (float[1,8,4,4] y) { y = Conv(x, w) }", 17, w=random(8, 8, 1, 1))
    x = samples(1, 8, 4, 4)
    want = run(found, {"x": x[0]})[0]
    QuantizeStatic()(found, context(*x))
    check(found)
    assert [v.name for v in found.graph.outputs] == ["y"]
    assert snr(want, run(found, {"x": x[0]})[0]) > 35


def test_hard_swish_stays_integer() -> None:
    found = model(
        """g (float[1,8,8,8] x) => (float[1,8,8,8] y) { a = Conv(x, w) h = HardSwish(a) y = Conv(h, w) }""",
        17,
        w=random(8, 8, 1, 1),
    )
    x = samples(1, 8, 8, 8)
    want = run(found, {"x": x[0]})[0]
    result = QuantizeStatic()(found, context(*x))
    check(found)
    operators = OnnxRuntime().optimized_operators(found)
    assert operators is not None and operators["com.microsoft::QLinearMul"] == 1
    assert operators["com.microsoft::QLinearAdd"] == 1 and "HardSigmoid" not in operators
    assert result.counts["HardSigmoid quantized"] == 1
    assert snr(want, run(found, {"x": x[0]})[0]) > 30


def test_matmul_with_bias_among_floats_needs_no_q_behind() -> None:
    found = model(
        """g (float[1,6,16] x) => (float[1,6,8] y) { m = MatMul(x, w) a = Add(m, b) e = Erf(a) y = Add(e, a) }""",
        17,
        w=random(16, 8),
        b=random(8, seed=2),
    )
    x = samples(1, 6, 16)
    want = run(found, {"x": x[0]})[0]
    QuantizeStatic()(found, context(*x))
    check(found)
    assert op_types(found).count("QuantizeLinear") == 1
    assert snr(want, run(found, {"x": x[0]})[0]) > 30


def test_moving_nodes_have_one_scale_on_both_sides() -> None:
    found = model(
        """g (float[1,8,8,8] x) => (float[1,8,4,4] y) {
            a = Conv(x, w) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a) y = Conv(m, w) }""",
        17,
        w=random(8, 8, 1, 1),
    )
    QuantizeStatic()(found, context(*samples(1, 8, 8, 8)))
    pool = next(node for node in found.graph if node.op_type == "MaxPool")
    before, after = pool.inputs[0].producer(), next(iter(pool.outputs[0].uses())).node  # type: ignore[union-attr]
    assert before is not None and before.inputs[1] is after.inputs[1] and before.inputs[2] is after.inputs[2]


def test_opset_11_is_raised() -> None:
    found = model(
        "g (float[1,8,4,4] x) => (float[8,4,4] y) { a = Conv(x, w) y = Squeeze<axes=[0]>(a) }", 11, w=random(8, 8, 1, 1)
    )
    QuantizeStatic()(found, context(*samples(1, 8, 4, 4)))
    check(found)
    assert found.graph.opset_imports[""] == 13


def test_excluded_and_odd_weights_are_left_alone_with_reasons() -> None:
    found = model(
        """g (float[4,8] x) => (float[4,8] y) { a = MatMul(x, w) b = MatMul(a, n) c = Relu(x) d = MatMul(b, w)
           e = Transpose(d) f = MatMul(e, c) y = MatMul(c, f) }""",
        17,
        w=random(8, 8),
        n=np.full((8, 8), np.nan, np.float32),
    )
    for i, node in enumerate(found.graph):
        node.name = f"n{i}"
    result = QuantizeStatic(Options(exclude=("n0",)))(found, context(np.zeros((4, 8), np.float32)))
    reasons = {skip.node: skip.reason for skip in result.skips}
    assert reasons["n0"] == "matched by exclude"
    assert reasons["n1"] == "the weight holds NaN or infinity"
    assert reasons["n5"] == "the weight is not constant"


def test_second_run_is_unmodified() -> None:
    found = residual()
    given = context(*samples(1, 8, 8, 8))
    QuantizeStatic()(found, given)
    assert not QuantizeStatic()(found, given).modified


@pytest.mark.parametrize("lacking", ["target", "samples", "opset"])
def test_refuses(lacking: str) -> None:
    found = residual()
    given = context(*samples(1, 8, 8, 8))
    if lacking == "opset":
        found.graph.opset_imports[""] = 10
    elif lacking == "target":
        given = PassContext(samples=given.samples)
    else:
        given = PassContext(target=given.target)
    with pytest.raises(PreconditionError):
        QuantizeStatic()(found, given)


def test_a_product_that_stays_float_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = residual()
    found.graph[0].name = "first"
    monkeypatch.setattr(OnnxRuntime, "optimized_model", lambda self, given, machine: given)
    with pytest.raises(PostconditionError, match="first"):
        QuantizeStatic()(found, context(*samples(1, 8, 8, 8)))


def test_a_layer_kept_in_floats_between_integer_ones_stays_float() -> None:
    found = model(
        "g (float[1,8,4,4] x) => (float[1,8,4,4] y) { a = Conv(x, w) b = Conv(a, w) y = Conv(b, w) }",
        17,
        w=random(8, 8, 1, 1),
    )
    for i, node in enumerate(found.graph):
        node.name = f"n{i}"
    QuantizeStatic(Options(exclude=("n1",)))(found, context(*samples(1, 8, 4, 4)))
    operators = OnnxRuntime().optimized_operators(found)
    assert operators is not None and operators["com.microsoft::QLinearConv"] == 2
