from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.observe import observe
from tamis.passes.quantization.rounding import bias_correction
from tamis.passes.quantization.rounding.bias_correction import HELD_OUT, correct_biases
from tests.models import Array, check, elements, model, random, run

FLOAT = """g (float[1, 3, 6, 6] x) => (float[1, 4, 6, 6] y) {
    a = Conv<pads=[1, 1, 1, 1]>(x, w, b)
    r = Relu(a)
    y = Conv(r, v, c)
}"""
QUANTIZED = """g (float[1, 3, 6, 6] x) => (float[1, 4, 6, 6] y) {
    wd = DequantizeLinear(wq, sw)
    bd = DequantizeLinear(bq, sb)
    a = Conv<pads=[1, 1, 1, 1]>(x, wd, bd)
    r = Relu(a)
    cd = DequantizeLinear(cq, sb)
    y = Conv(r, v, cd)
}"""
STEP = np.asarray(1e-3, np.float32)


def named(found: ir.Model) -> ir.Model:
    for number, node in enumerate(n for n in found.graph if n.op_type == "Conv"):
        node.name = f"conv{number}"
    return found


def pair(shift: float = 0.0) -> tuple[ir.Model, ir.Model]:
    """A float model and one whose weights are coarse and whose first bias is off by ``shift``."""
    weight, other = random(4, 3, 3, 3), random(4, 4, 1, 1, seed=1)
    bias, last = random(4, seed=2), random(4, seed=3)
    coarse = np.asarray(0.25, np.float32)
    floats = model(FLOAT, w=weight, b=bias, v=other, c=last)
    quantized = model(
        QUANTIZED, wq=np.clip(np.rint(weight / coarse), -127, 127).astype(np.int8), sw=coarse, v=other, sb=STEP,
        bq=np.rint((bias + shift) / STEP).astype(np.int32), cq=np.rint(last / STEP).astype(np.int32),
    )  # fmt: skip
    return named(floats), named(quantized)


def samples() -> list[dict[str, Array]]:
    return [{"x": np.abs(random(1, 3, 6, 6, seed=10 + i))} for i in range(16)]


def means(found: ir.Model) -> Array:
    return np.asarray(np.mean([run(found, s)[0].mean(axis=(0, 2, 3)) for s in samples()], axis=0))


def error(found: ir.Model, floats: ir.Model) -> float:
    return float(sum(np.square(run(found, s)[0] - run(floats, s)[0]).sum() for s in samples()))


def test_means_are_those_of_the_float_model() -> None:
    floats, quantized = pair()
    before, noise = np.abs(means(quantized) - means(floats)).max(), error(quantized, floats)
    found = correct_biases(quantized, floats, samples)
    check(quantized)
    assert (found.layers, found.undone, found.skips) == (2, False, ())
    assert found.channels >= 5  # the others are right up to chance
    assert np.abs(means(quantized) - means(floats)).max() < before / 20
    assert error(quantized, floats) < noise


@pytest.mark.parametrize("memory", [1, 2**30])
def test_few_samples_are_enough_where_memory_is_short(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias_correction, "MEMORY", memory)
    floats, quantized = pair(0.2)
    looked_at = []
    real = bias_correction._correct

    def spy(site: Any, wanted: list[Array], *rest: Any) -> int:
        looked_at.append(len(wanted))
        return real(site, wanted, *rest)

    monkeypatch.setattr(bias_correction, "_correct", spy)
    before = error(quantized, floats)
    assert correct_biases(quantized, floats, samples).layers == 2
    assert looked_at == ([1, 1] if memory == 1 else [16, 16])
    assert error(quantized, floats) < before


def test_channels_that_get_worse_on_held_out_samples_are_left_alone() -> None:
    floats, quantized = pair()
    bias = elements(quantized, "bq").copy()
    lacking = model(
        QUANTIZED, wq=np.zeros((4, 3, 3, 3), np.int8), sw=STEP, v=elements(floats, "v"), sb=STEP, bq=bias,
        cq=elements(quantized, "cq"),
    )  # fmt: skip
    named(lacking)

    def turned() -> list[dict[str, Array]]:
        """Of one sign where layers are fitted, of the other where they are judged."""
        return [{"x": s["x"] * (-1 if i % HELD_OUT == HELD_OUT - 1 else 1)} for i, s in enumerate(samples())]

    correct_biases(lacking, floats, turned, max_ratio=100)
    assert np.array_equal(elements(lacking, "bq"), bias)


def test_means_behind_the_clipping_of_q() -> None:
    floats, _ = pair()
    text = QUANTIZED.replace("r = Relu(a)", "q = QuantizeLinear(a, sa, za) r = DequantizeLinear(q, sa, za)")
    weight, bias = elements(floats, "w"), elements(floats, "b")
    quantized = named(model(
        text, wq=np.clip(np.rint(weight / 0.25), -127, 127).astype(np.int8), sw=np.asarray(0.25, np.float32), sb=STEP,
        bq=np.rint(bias / STEP).astype(np.int32), v=elements(floats, "v"), sa=np.asarray(0.03, np.float32),
        za=np.asarray(0, np.uint8), cq=np.rint(elements(floats, "c") / STEP).astype(np.int32),
    ))  # fmt: skip
    clone = quantized.clone()
    assert correct_biases(quantized, floats, samples).layers == 2

    def behind(found: ir.Model, name: str) -> Array:
        given = [values[name] for _, values in observe(found, [name], samples)]
        return np.asarray(np.concatenate(given))

    wanted = np.clip(behind(floats, "r"), 0, 0.03 * 255)
    errors = [np.square(behind(m, "r") - wanted).mean(axis=(0, 2, 3)) for m in (clone, quantized)]
    assert np.all(errors[1] <= errors[0] + 1e-9)
    assert errors[1].sum() < errors[0].sum()


def test_absurd_shifts_are_left_alone() -> None:
    floats, quantized = pair(100.0)
    kept = elements(quantized, "bq").copy()
    found = correct_biases(quantized, floats, samples, max_ratio=2)
    assert found.layers == 0
    assert {s.reason for s in found.skips} == {"the mean of a channel moved by more than rounding explains"}
    assert np.array_equal(elements(quantized, "bq"), kept)


def test_no_gain_is_undone() -> None:
    floats, _ = pair()
    quantized = model(
        QUANTIZED.replace("y = Conv(r, v, cd)", "k = Conv(r, v, cd) y = Sub(k, d)"),
        wq=np.clip(np.rint(elements(floats, "w") / 0.25), -127, 127).astype(np.int8), sw=np.asarray(0.25, np.float32), sb=STEP,
        v=elements(floats, "v"), bq=np.rint(elements(floats, "b") / STEP).astype(np.int32),
        cq=np.rint((elements(floats, "c") + 3) / STEP).astype(np.int32), d=np.asarray(3, np.float32),
    )  # fmt: skip
    named(quantized)
    kept = elements(quantized, "cq").copy()
    found = correct_biases(quantized, floats, samples, max_ratio=100)
    assert (found.undone, found.layers) == (True, 0)
    assert np.array_equal(elements(quantized, "cq"), kept)


@pytest.mark.parametrize("shared", [True, False])
def test_shared_biases_are_left_to_their_other_readers(shared: bool) -> None:
    floats, quantized = pair()
    if shared:
        bias = quantized.graph.initializers["bq"]
        twins = [n for n in quantized.graph if n.op_type == "DequantizeLinear"]
        twins[-1].replace_input_with(0, bias)
        floats.graph.initializers["c"].const_value = floats.graph.initializers["b"].const_value
        quantized.graph.initializers.pop("cq")
    before = error(quantized, floats)
    assert correct_biases(quantized, floats, samples).layers == 2
    check(quantized)
    assert error(quantized, floats) < before


def test_layers_without_a_twin_or_a_bias() -> None:
    floats, quantized = pair()
    next(n for n in quantized.graph if n.name == "conv0").name = "other"
    found = correct_biases(quantized, floats, samples)
    assert [(s.reason, s.node) for s in found.skips] == [("no layer of that name in the float model", "other")]
    text = """g (float[N, 3] x) => (float[N, 2] y) { xq = QuantizeLinear(x, s) xd = DequantizeLinear(xq, s)
        wd = DequantizeLinear(w, s) y = MatMul(xd, wd) }"""
    product = model(text, w=np.ones((3, 2), np.int8), s=np.asarray(0.1, np.float32))
    found = correct_biases(product, product, samples)
    assert (found.layers, found.skips) == (0, ())


def biases(quantized: ir.Model) -> list[list[int]]:
    """All int32 constants."""
    tensors = [v.const_value for v in quantized.graph.initializers.values()]
    return sorted(t.numpy().ravel().tolist() for t in tensors if t is not None and t.dtype == ir.DataType.INT32)


def test_the_caller_has_the_last_word() -> None:
    floats, quantized = pair()
    before = biases(quantized)
    asked: list[bool] = []

    def refuse() -> bool:
        asked.append(biases(quantized) != before)
        return False

    found = correct_biases(quantized, floats, samples, accepts=refuse)
    assert asked == [True]
    assert (found.layers, found.undone) == (0, True)
    assert biases(quantized) == before
