from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tamis.compiler.analysis.integer_products import integer_products, unsafe_products
from tamis.compiler.machine import find_machine
from tamis.passes.quantization.rounding.saturation import count_saturated, saturated_pairs, saturating_matmul
from tests.models import Array, model
from tests.passes.quantization import saturating_cases
from tests.passes.quantization.saturating_cases import CONVS

ROOT = Path(__file__).parents[4]
QEMU = "qemu-x86_64-static"
DEPTHWISE = {f"QLinearConv {i} {o} {g} {k} {s} {d} {b}" for i, o, g, k, s, d, b in CONVS if i == o == g}


def check(cases: Iterable[Sequence[str | bool]], *, saturates: bool) -> None:
    cases = list(cases)
    assert len(cases) == len(CONVS) + len(saturating_cases.MATRICES)
    for name, simulated, exact in cases:
        if saturates:
            assert simulated, f"{name}: not as simulated"
            assert exact == (name in DEPTHWISE), f"{name}: the case does not saturate"
        else:
            assert exact, f"{name}: not exact"


def test_this_machine() -> None:
    machine = find_machine("host")
    if machine.arch != "x86-64":
        assert not machine.int8.saturates
    rng = np.random.default_rng(0)
    cases = [*saturating_cases.matrices(rng), *saturating_cases.convolutions(rng)]
    check(cases, saturates=machine.int8.saturates)


def test_machine_without_vnni() -> None:
    """Bit for bit on an emulated CPU that has AVX2 and no VNNI; where QEMU is missing on a CPU that has none itself."""
    if shutil.which(QEMU) is None:
        assert find_machine("host").int8.saturates, f"{QEMU} is not installed"
        return
    paths = [str(ROOT / "src"), str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))]
    found = subprocess.run(
        [QEMU, "-cpu", "Haswell-noTSX", str(Path(sys.executable).resolve()), "-m", saturating_cases.__name__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    check(json.loads(found.stdout), saturates=True)


def test_rule() -> None:
    rows = np.array([[255, 255, 255]], np.uint8)
    weight = np.array([[127, -128, 127, 64], [127, -128, -128, 64], [127, -128, 1, 127]], np.int8)
    assert saturating_matmul(rows, weight).tolist() == [[32767 + 32385, -32768 - 32640, 0, 32640 + 32385]]
    assert count_saturated(rows, weight) == 2


QDQ = """g (uint8[1, 4, 5, 5] x, float sx, uint8 zx, float sw) => (float[1, 2, 5, 5] y, float[1, 4, 5, 5] d) {
    d = DequantizeLinear(x, sx, zx)
    wd = DequantizeLinear(w, sw)
    y = Conv<pads=[1, 1, 1, 1]>(d, wd)
}"""


def feeds(value: int) -> dict[str, Array]:
    one = np.asarray(1, np.float32)
    return {"x": np.full((1, 4, 5, 5), value, np.uint8), "sx": one, "zx": np.asarray(0, np.uint8), "sw": one}


def test_counts_of_a_convolution() -> None:
    weight = np.full((2, 4, 3, 3), 127, np.int8)
    weight[1] = 64
    quantized = model(QDQ, w=weight)
    next(n for n in quantized.graph if n.op_type == "Conv").name = "conv"
    found = saturated_pairs(quantized, lambda: [feeds(255), feeds(100)])["conv"]
    assert (found.unsafe_columns, found.pairs) == (1, 2 * 25 * 18 * 2)
    taps = 9 * 9 + 12 * 6 + 4 * 4
    assert found.saturated == taps * 2
    assert found.rate == pytest.approx(taps / (25 * 18 * 2))
    assert [p.node.name for p in unsafe_products(quantized)] == ["conv"]


def test_safe_weights_have_no_saturated_pairs() -> None:
    quantized = model(QDQ, w=np.full((2, 4, 3, 3), 64, np.int8))
    (found,) = saturated_pairs(quantized, lambda: [feeds(255)]).values()
    assert (found.unsafe_columns, found.saturated, found.pairs) == (0, 0, 25 * 18 * 2)
    assert unsafe_products(quantized) == []


GEMM = """g (uint8[M, 4] x, float s) => (float[M, 3] y) {
    d = DequantizeLinear(x, s)
    e = DequantizeLinear(w, s)
    y = Gemm<transB=1>(d, e)
}"""


@pytest.mark.parametrize(
    ("graph", "weight", "count"),
    [
        ("g (uint8[M, 4] x) => (int32[M, 3] y) { y = MatMulInteger(x, w) }", (4, 3), 1),
        ("g (int8[M, 4] x) => (int32[M, 3] y) { y = MatMulInteger(x, w) }", (4, 3), 0),
        ("g (uint8[2, M, 4] x) => (int32[2, M, 3] y) { y = MatMulInteger(x, w) }", (2, 4, 3), 1),
        ("g (uint8[1, 4, 5, 5] x) => (int32[1, 3, 5, 5] y) { y = ConvInteger(x, w) }", (3, 4, 1, 1), 0),
        (GEMM, (3, 4), 1),
        ("g (float[M, 4] x, float s) => (float[M, 3] y) { e = DequantizeLinear(w, s) y = MatMul(x, e) }", (4, 3), 0),
    ],
)  # fmt: skip
def test_which_products_saturate(graph: str, weight: tuple[int, ...], count: int) -> None:
    found = list(integer_products(model(graph, w=np.full(weight, 127, np.int8))))
    assert len(found) == count
    assert all(p.unsafe_columns() == 3 * (weight[0] if len(weight) == 3 else 1) for p in found)


def test_stacks_of_matrices() -> None:
    graph = "g (uint8[2, 3, 4] x) => (int32[2, 3, 5] y) { y = MatMulInteger(x, w) }"
    weight = np.zeros((2, 4, 5), np.int8)
    weight[1] = 127
    x = np.zeros((2, 3, 4), np.uint8)
    x[0] = 255
    assert next(iter(saturated_pairs(model(graph, w=weight), lambda: [{"x": x}]).values())).saturated == 0
    x[1] = 255
    found = next(iter(saturated_pairs(model(graph, w=weight), lambda: [{"x": x}]).values()))
    assert (found.saturated, found.pairs) == (3 * 2 * 5, 2 * 3 * 2 * 5)


def test_random_products_against_the_rule_written_out() -> None:
    rng = np.random.default_rng(0)
    rows, weight = rng.integers(0, 256, (6, 7)).astype(np.uint8), rng.integers(-128, 128, (7, 5)).astype(np.int8)
    wanted = np.zeros((6, 5), np.int64)
    for j in range(0, 7, 2):
        wanted += np.clip(rows[:, j : j + 2].astype(np.int64) @ weight[j : j + 2].astype(np.int64), -32768, 32767)
    assert np.array_equal(saturating_matmul(rows, weight), wanted)
    assert not np.array_equal(wanted, rows.astype(np.int64) @ weight.astype(np.int64))
