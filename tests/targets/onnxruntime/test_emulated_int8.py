"""8-bit networks for machines other than the one at hand: ARM under QEMU, and x86 whose products saturate."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.integer_products import integer_products, unsafe_products
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.link import Link
from tamis.compiler.machine import find_machine
from tamis.compiler.target import Target
from tamis.compiler.tuning_database import TuningDatabase
from tamis.passes.quantization.placement.integer_check import PRODUCTS
from tamis.passes.quantization.quantize_static import Options, QuantizeStatic
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tests.models import check, model, random, run

QEMU = Link(kind="qemu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def net() -> ir.Model:
    """Every kind of convolution, a residual, a gate, pooling, a classifier."""
    return model(
        """g (float[1,8,8,8] x) => (float[1,5] y) {
            a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) d = Conv<group=8, pads=[1,1,1,1]>(r, k) h = HardSwish(d)
            p = Conv(h, q) s = Add(p, r) g = Sigmoid(s) t = Mul(s, g) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(t)
            o = GlobalAveragePool(m) f = Flatten(o) y = Gemm(f, v, c) }""",
        17,
        w=random(8, 8, 3, 3) * np.float32(0.2),
        b=random(8, seed=2),
        k=random(8, 1, 3, 3, seed=3) * np.float32(0.4),
        q=random(8, 8, 1, 1, seed=4) * np.float32(0.4),
        v=random(8, 5, seed=5),
        c=random(5, seed=6),
    )


def samples() -> Iterator[Feeds]:
    return ({"x": random(1, 8, 8, 8, seed=seed)} for seed in range(1, 9))


def quantized(machine: str, link: Link, options: Options | None = None) -> ir.Model:
    found = net()
    target = Target("t", find_machine(machine), OnnxRuntime(link=link))
    assert QuantizeStatic(options)(found, PassContext(target=target, samples=samples)).modified
    check(found)
    return found


def activation_types(found: ir.Model) -> set[ir.DataType | None]:
    zeros = (n.inputs[2] for n in found.graph if n.op_type == "QuantizeLinear")
    return {None if zero is None else zero.dtype for zero in zeros}


@pytest.mark.parametrize("machine", ["cortex-a76", "neoverse-n1", "cortex-a53"])
def test_arm_gets_the_types_of_its_data(machine: str) -> None:
    """Signed activations, which ONNX Runtime on x86 would leave in floats; the check afterwards knows."""
    assert find_machine(machine).int8.pair == "s8s8"
    found = quantized(machine, Link(kind="none"))
    assert activation_types(found) == {ir.DataType.INT8}
    assert {p.weight.dtype for p in integer_products(found)} == {np.dtype(np.int8)}
    assert float_products_of(found, None) > 0 == float_products_of(found, machine)


def float_products_of(found: ir.Model, machine: str | None) -> int:
    optimized = OnnxRuntime().optimized_model(found, None if machine is None else find_machine(machine))
    assert optimized is not None
    return sum(n.op_type in PRODUCTS for n in optimized.graph)


def test_arm_computes_what_is_written(tmp_path: Path) -> None:
    runtime, described = OnnxRuntime(link=QEMU), find_machine("cortex-a76")
    found = quantized("cortex-a76", QEMU)
    with TuningDatabase(tmp_path / "database.sqlite") as database:
        artifact = runtime.lower(found, tmp_path, described, runtime.default_settings(described), database)
    emulated = runtime.load(tmp_path, artifact)
    for feeds in islice(samples(), 2):
        floats, written, there = run(net(), feeds)[0], run(found, feeds)[0], emulated(feeds)["y"]
        noise = np.abs(written - floats).max()
        assert np.abs(there - written).max() <= max(noise, 0.02)
        assert np.square(floats).sum() > 100 * np.square(there - floats).sum()


def test_x86_that_saturates_gets_safe_pairs() -> None:
    found = quantized("x86-64-avx2", Link(kind="none"))
    assert activation_types(found) == {ir.DataType.UINT8}
    assert len(list(integer_products(found))) == 4 and unsafe_products(found) == []


@pytest.mark.parametrize("machine", ["x86-64-avx512-vnni", "x86-64-avx2"])
def test_pairs_are_not_restrained_where_they_need_not_be(machine: str) -> None:
    options = Options(pair_safe="off") if machine == "x86-64-avx2" else None
    assert unsafe_products(quantized(machine, Link(kind="none"), options))


def test_optimal_rounding_is_safe_too() -> None:
    found = quantized("x86-64-avx2", Link(kind="none"), Options(weights_rounding="optimal"))
    assert unsafe_products(found) == []


def test_one_scale_a_weight_is_safe_too() -> None:
    found = quantized("x86-64-avx2", Link(kind="none"), Options(per_channel=False))
    assert unsafe_products(found) == []
