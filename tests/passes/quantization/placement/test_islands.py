"""What joins islands, where they end, and what calibration samples say nothing usable about."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.digest import model_digest
from tests.models import Array, elements, model, op_types, random, run
from tests.passes.quantization.placement.static import quantized, samples

CONV = "com.microsoft::QLinearConv"
W = random(8, 8, 1, 1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def net(body: str, opset: int = 17, outputs: str = "float[1,8,4,4] y", /, **constants: Array):  # type: ignore[no-untyped-def]
    return model(f"g (float[1,8,4,4] x) => ({outputs}) {{ {body} }}", opset, w=W, **constants)


def test_several_readers_and_a_graph_output_inside() -> None:
    """``a`` is read twice inside, once outside, and given out; it is rounded once."""
    found = net("a = Conv(x, w) b = Conv(a, w) s = Add(a, b) e = Erf(a) c = Conv(s, w) y = Add(c, e)",
                17, "float[1,8,4,4] y, float[1,8,4,4] a")  # fmt: skip
    done = quantized(found, samples(1, 8, 4, 4))
    assert done.operators[CONV] == 3 and done.operators["com.microsoft::QLinearAdd"] == 1
    assert sum(name.startswith("a_quantized") for node in found.graph for name in [str(node.outputs[0].name)]) == 1
    assert done.sqnr > 25


def test_dynamic_batch_and_size() -> None:
    found = model(
        """g (float[N,8,H,W] x) => (float[N,8,H,W] y) {
            a = Conv(x, w) b = Conv(a, w) s = Add(a, b) r = Relu(s) m = MaxPool<kernel_shape=[1,1]>(r) y = Conv(m, w) }""",
        17,
        w=W,
    )
    done = quantized(found, [random(i % 3 + 1, 8, 4 + i, 5, seed=i) for i in range(8)])
    assert done.operators[CONV] == 3 and done.operators["com.microsoft::QLinearAdd"] == 1
    assert done.sqnr > 25
    assert run(found, {"x": random(5, 8, 2, 3)})[0].shape == (5, 8, 2, 3)


def test_dynamic_sequence() -> None:
    found = model(
        """g (float[N,T,8] x) => (float[N,T,8] y) {
            m = MatMul(x, w) a = Add(m, b) g = Erf(a) n = MatMul(g, w) r = Add(n, x) y = Softmax(r) }""",
        17,
        w=random(8, 8),
        b=random(8, seed=2),
    )
    done = quantized(found, [random(1 + i % 2, 3 + i, 8, seed=i) for i in range(8)])
    assert done.result.counts == {"MatMul quantized": 2}
    assert not {"MatMul", "Gemm"} & done.operators.keys()
    assert done.sqnr > 25


def test_a_where_between_convolutions_is_integer() -> None:
    found = net("a = Conv(x, w) b = Conv(x, v) c = Where(m, a, b) y = Conv(c, w)",
                v=random(8, 8, 1, 1, seed=2), m=random(1, 8, 4, 4) > 0)  # fmt: skip
    done = quantized(found, samples(1, 8, 4, 4))
    assert done.operators["com.microsoft::QLinearWhere"] == 1 and done.operators["QuantizeLinear"] == 1
    assert done.sqnr > 25


@pytest.mark.parametrize(
    ("pool", "opset", "integer"),
    [
        ("ceil_mode=1", 17, True),
        ("count_include_pad=1", 17, True),
        ("ceil_mode=1, count_include_pad=1", 17, False),
        ("dilations=[1,1]", 19, False),
    ],
)
def test_average_pools_whose_integer_kernel_is_wrong_stay_float(pool: str, opset: int, integer: bool) -> None:
    """ONNX Runtime would take them between DQ and Q, also with a ReLU and a Reshape behind."""
    attributes = f"kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], {pool}"
    found = model(
        f"""g (float[1,8,4,4] x) => (float[1,8,9,1] y) {{
            a = Conv(x, w) p = AveragePool<{attributes}>(a) r = Relu(p) f = Reshape(r, n) y = Conv(f, w) }}""",
        opset,
        w=W,
        n=np.array([1, 8, -1, 1]),
    ) if "ceil" in pool else net(f"a = Conv(x, w) p = AveragePool<kernel_shape=[1,1], {pool}>(a) y = Conv(p, w)", opset)  # fmt: skip
    want = "reads what the target would compute wrongly in integers"
    done = quantized(found, samples(1, 8, 4, 4))
    assert done.operators.get("com.microsoft::QLinearAveragePool", 0) == integer
    assert done.reasons.get("y") == (None if integer else want)
    optimized = run(found, {"x": random(1, 8, 4, 4)}, optimize=True)[0]
    np.testing.assert_allclose(optimized, run(found, {"x": random(1, 8, 4, 4)})[0], atol=0.2)


def test_a_max_pool_that_also_gives_indices_stays_float() -> None:
    found = net("a = Conv(x, w) m, i = MaxPool<kernel_shape=[1,1]>(a) y = Conv(m, w)",
                17, "float[1,8,4,4] y, int64[1,8,4,4] i")  # fmt: skip
    done = quantized(found, samples(1, 8, 4, 4))
    assert "MaxPool quantized" not in done.result.counts and done.operators[CONV] == 2


def test_the_gate_of_a_hard_swish_does_not_clip_what_is_given_out() -> None:
    found = net("a = Conv(x, w) h = HardSwish(a) y = Conv(h, w)",
                17, "float[1,8,4,4] y, float[1,8,4,4] a")  # fmt: skip
    x = [array * 3 for array in samples(1, 8, 4, 4)]
    want = run(found, {"x": x[0]})[1]
    assert want.min() < -8
    quantized(found, x)
    assert run(found, {"x": x[0]})[1].min() < -8


def test_a_hard_swish_outside_islands_is_as_before() -> None:
    found = net("a = Conv(x, w) e = Erf(a) h = HardSwish(e) y = Identity(h)")
    quantized(found, samples(1, 8, 4, 4))
    assert "HardSwish" in op_types(found) and "HardSigmoid" not in op_types(found)


def test_a_branch_that_the_samples_never_activate_stays_float() -> None:
    """``r`` is 0 on all samples; if it is not later, its Clip still holds."""
    found = net("a = Conv(x, w, b) r = Clip(a, zero, six) y = Conv(r, w)",
                b=np.full(8, -100, np.float32), zero=np.asarray(0, np.float32), six=np.asarray(6, np.float32))  # fmt: skip
    want = run(found, {"x": np.full((1, 8, 4, 4), 200, np.float32)})[0]
    before = model_digest(found)
    done = quantized(found, samples(1, 8, 4, 4))
    assert done.reasons == dict.fromkeys(("a", "y"), "0 on all calibration samples, so any range could be wrong")
    assert not done.result.modified and model_digest(found) == before
    np.testing.assert_array_equal(run(found, {"x": np.full((1, 8, 4, 4), 200, np.float32)})[0], want)


def test_a_dead_branch_does_not_keep_the_others_from_being_integer() -> None:
    found = net("a = Conv(x, w) n = Mul(a, zero) s = Add(a, n) c = Conv(a, w) t = Add(c, s) y = Conv(t, w)",
                zero=np.zeros(1, np.float32))  # fmt: skip
    for node in found.graph:
        node.name = f"n_{node.outputs[0].name}"
    done = quantized(found, samples(1, 8, 4, 4))
    assert done.reasons["n_n"].startswith("0 on all") and done.reasons["n_s"].startswith("0 on all")
    assert done.operators[CONV] == 3
    assert done.sqnr > 25


def test_constant_activations() -> None:
    found = net("a = Conv(x, w) r = Relu(a) y = Conv(r, w)")
    assert quantized(found, [np.full((1, 8, 4, 4), 0.7, np.float32)] * 8).sqnr > 25


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_on_a_sample_stay_float(value: float) -> None:
    found = net("a = Conv(x, w) n = IsNaN(a) i = IsInf(a) o = Or(n, i) c = Where(o, k, a) d = Clip(c, l, u) y = Conv(d, w)",
                k=np.zeros(1, np.float32), l=np.asarray(-9, np.float32), u=np.asarray(9, np.float32))  # fmt: skip
    x = samples(1, 8, 4, 4)
    x[3][0, 0, 0, 0] = value
    done = quantized(found, x)
    assert done.reasons == {
        "a": "NaN or infinite on calibration samples",
        "c": "NaN or infinite on calibration samples",
    }
    assert done.operators[CONV] == 1


def test_empty_samples() -> None:
    found = model("g (float[N,8] x) => (float[N,8] y) { y = MatMul(x, w) }", 17, w=random(8, 8))
    done = quantized(found, [np.zeros((0, 8), np.float32)] * 8)
    assert done.reasons == {"y": "empty on the calibration samples"} and not done.result.modified


def test_an_empty_batch_later() -> None:
    found = model("g (float[N,8] x) => (float[N,8] y) { y = MatMul(x, w) }", 17, w=random(8, 8))
    quantized(found, samples(3, 8))
    assert run(found, {"x": np.zeros((0, 8), np.float32)})[0].shape == (0, 8)


@pytest.mark.parametrize("count", [1, 7, 8])
def test_few_samples_are_reported(count: int) -> None:
    done = quantized(net("y = Conv(x, w)"), samples(1, 8, 4, 4)[:count])
    wanted = {} if count == 8 else {"calibration data": "fewer than 8 samples: ranges may be too narrow"}
    assert done.reasons == wanted and done.result.modified


@pytest.mark.parametrize("opset", [11, 12])
@pytest.mark.parametrize("normalizer", ["Softmax", "LogSoftmax", "Hardmax", "Softmax<axis=3>", "Softmax<axis=2>"])
def test_softmax_over_several_axes_keeps_its_meaning(opset: int, normalizer: str) -> None:
    """Before opset 13 everything from the axis on is one axis, and the axis is 1 by default."""
    found = net(f"a = Conv(x, w) y = {normalizer}(a)", opset)
    done = quantized(found, samples(1, 8, 4, 4))
    assert found.graph.opset_imports[""] == 13 and done.operators[CONV] == 1
    assert done.sqnr > (10 if normalizer == "Hardmax" else 25)


def test_softmax_inside_a_branch_is_raised_too() -> None:
    found = net(
        """a = Conv(x, w) c = Cast<to=9>(one)
           y = If(c) < then_branch = t () => (float[1,8,4,4] p) { p = Softmax(a) },
                       else_branch = e () => (float[1,8,4,4] q) { s = Squeeze<axes=[0]>(a) q = Unsqueeze<axes=[0]>(s) }>""",
        11,
        one=np.asarray(1, np.float32),
    )
    assert quantized(found, samples(1, 8, 4, 4)).sqnr > 25


def test_a_range_of_a_clip_is_not_exceeded() -> None:
    found = net("a = Conv(x, w) r = Clip(a, l, u) y = Conv(r, w)",
                l=np.asarray(-0.5, np.float32), u=np.asarray(0.25, np.float32))  # fmt: skip
    quantized(found, samples(1, 8, 4, 4))
    scale, zero = elements(found, "r_scale"), elements(found, "r_zero_point")
    assert (255 - float(zero)) * scale <= 0.2525 and float(zero) * scale <= 0.505
