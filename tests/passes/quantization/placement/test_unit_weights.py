from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.integer_products import PAIR_LIMIT, pair_extremes
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class
from tamis.passes.quantization.placement.unit_weights import (
    HELD_OUT,
    MAX_SAMPLES,
    QuantizedWeight,
    from_matrix,
    nearest,
    needs_safe_pairs,
    optimal,
    to_matrix,
    weight_array,
)
from tamis.passes.quantization.placement.units import Unit, channel_axis, find_units
from tests.models import Array, model, random, run

CONV = "g (float[1, 8, 6, 6] x) => (float[1, {m}, 6, 6] y) {{ y = Conv<pads=[1, 1, 1, 1], group={group}>(x, w) }}"
PRODUCTS = {
    "MatMul": "g (float[N, 20] x) => (float[N, 6] y) { y = MatMul(x, w) }",
    "Gemm": "g (float[N, 20] x) => (float[N, 6] y) { y = Gemm<transB=1>(x, w) }",
}
CASES = {
    "conv": (CONV.format(m=6, group=1), (6, 8, 3, 3)),
    "grouped": (CONV.format(m=6, group=2), (6, 4, 3, 3)),
    "depthwise": (CONV.format(m=8, group=8), (8, 1, 3, 3)),
    "MatMul": (PRODUCTS["MatMul"], (20, 6)),
    "Gemm": (PRODUCTS["Gemm"], (6, 20)),
}


def unit_of(case: str, weight: Array | None = None) -> tuple[ir.Model, Unit]:
    text, shape = CASES[case]
    found = model(text, w=random(*shape) if weight is None else weight)
    kernels = runtime_class(REFERENCE_RUNTIME)().int8_kernels(find_machine("x86-64-avx2"))
    assert kernels is not None
    (unit,) = find_units(found, kernels)
    return found, unit


def inputs(case: str, seed: int) -> dict[str, Array]:
    """Values that depend on each other, as those of real layers do."""
    if case in PRODUCTS:
        return {"x": np.maximum(random(30, 20, seed=seed) @ random(20, 20, seed=99) / 4 + 0.5, 0)}
    mixed = np.einsum("nchw,cd->ndhw", random(1, 8, 6, 6, seed=seed), random(8, 8, seed=99))
    return {"x": np.maximum(mixed / 3 + 0.5, 0).astype(np.float32)}


def scaled(unit: Unit, found: QuantizedWeight) -> Array:
    shape = [1] * found.steps.ndim
    shape[channel_axis(unit.node)] = -1
    return np.asarray(found.steps * found.scale.reshape(shape))


def squared_error(unit: Unit, found: ir.Model, weight: Array, feeds: dict[str, Array]) -> Array:
    """Of each output channel."""
    original = weight_array(unit)
    found.graph.initializers["w"].const_value = ir.tensor((original - weight).astype(np.float32), name="w")
    (y,) = run(found, feeds)
    found.graph.initializers["w"].const_value = ir.tensor(original, name="w")
    channels = np.moveaxis(y, 1, -1)
    return np.asarray(np.square(channels.reshape(-1, channels.shape[-1])).sum(axis=0, dtype=np.float64))


@pytest.mark.parametrize("case", CASES)
def test_matrices_and_back(case: str) -> None:
    _, unit = unit_of(case)
    array, axis = weight_array(unit), channel_axis(unit.node)
    matrix = to_matrix(array, axis)
    assert matrix.shape == (array.size // array.shape[axis], array.shape[axis])
    assert np.array_equal(from_matrix(matrix, array.shape, axis), array)
    assert needs_safe_pairs(unit) == (case != "depthwise")


@pytest.mark.parametrize("pair_safe", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_optimal_is_better_on_other_samples(case: str, pair_safe: bool) -> None:
    found, unit = unit_of(case)
    best = optimal(found, [unit], lambda: [inputs(case, i) for i in range(12)], pair_safe=pair_safe, seed=0, quiet=True)
    plain = nearest(unit, per_channel=True, pair_safe=pair_safe)
    weight = best[unit]
    assert weight.steps.shape == weight_array(unit).shape
    assert weight.scale.shape == plain.scale.shape
    feeds = inputs(case, 77)
    errors = [squared_error(unit, found, scaled(unit, w), feeds).sum() for w in (plain, weight)]
    assert errors[1] < errors[0]
    if pair_safe and case != "depthwise":
        steps = to_matrix(weight.steps.astype(np.int64), channel_axis(unit.node))
        assert pair_extremes(steps).max() <= PAIR_LIMIT


@pytest.mark.parametrize("case", ["conv", "MatMul"])
def test_never_worse_on_samples_held_out(case: str) -> None:
    found, unit = unit_of(case)

    def turned() -> list[dict[str, Array]]:
        """What is held out has nothing to do with the rest."""
        given = [inputs(case, i) for i in range(8)]
        return [{"x": random(*s["x"].shape, seed=i) if i % HELD_OUT == HELD_OUT - 1 else s["x"]}
                for i, s in enumerate(given)]  # fmt: skip

    best = optimal(found, [unit], turned, pair_safe=False, seed=0, quiet=True)[unit]
    plain = nearest(unit, per_channel=True, pair_safe=False)
    judges = turned()[HELD_OUT - 1 :: HELD_OUT]
    errors = [sum(squared_error(unit, found, scaled(unit, w), s) for s in judges) for w in (plain, best)]
    assert np.all(errors[1] <= errors[0] * 1.001)
    assert np.any(best.scale == plain.scale)


def test_samples_without_end() -> None:
    found, unit = unit_of("MatMul")
    asked = []

    def endless() -> Iterator[dict[str, Array]]:
        for i in count():
            asked.append(i)
            yield inputs("MatMul", i)

    optimal(found, [unit], endless, pair_safe=False, seed=0, quiet=True)
    assert max(asked) == MAX_SAMPLES - 1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("per_channel", [True, False])
def test_scales_that_grow_for_the_bias_keep_pairs_safe(case: str, per_channel: bool) -> None:
    shape = CASES[case][1]
    weight = (np.sign(random(*shape, seed=3)) * (1 + 0.01 * random(*shape, seed=4))).astype(np.float32)
    _, unit = unit_of(case, weight)
    axis = channel_axis(unit.node)
    plain = nearest(unit, per_channel=per_channel, pair_safe=True)
    floor = np.full(shape[axis], plain.scale.max() * 1.003, np.float32)
    floor[0] = 0
    grown = plain.at_least(floor, weight, axis)
    assert plain.at_least(None, weight, axis) is plain
    assert np.all(grown.scale >= floor)
    steps = to_matrix(grown.steps.astype(np.int64), axis)
    assert case == "depthwise" or pair_extremes(steps).max() <= PAIR_LIMIT
    if per_channel:
        assert grown.scale[0] == plain.scale[0]
        assert np.array_equal(steps[:, 0], to_matrix(plain.steps, axis)[:, 0])
