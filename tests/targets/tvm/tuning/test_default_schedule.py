"""Schedules without measuring: right for every shape, fast functions included, and nothing in the way of a layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from scipy.special import erf

from tamis.targets.hardware.host import detect
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target
from tests.models import model, random

FIRST = 3
"""Candidates of a kernel that are tried; the later ones differ from these in the sizes of tiles only."""


def ask(process: CompilerProcess, command: str, found: ir.Model, folder: Path, **more: Any) -> dict[str, Any]:
    path = folder / "model.onnx"
    ir.save(found, path)
    return process.request(command, {"model": str(path), "target": machine_target(detect(), 2), "first": FIRST, **more})


KERNELS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "product": ("g (float[40, 24] x) => (float[40, 64] y) { y = MatMul(x, w) }", {"w": (24, 64)}),
    "odd columns": ("g (float[12, 20] x) => (float[12, 149] y) { y = MatMul(x, w) }", {"w": (20, 149)}),
    "few columns": ("g (float[64, 20] x) => (float[64, 3] y) { y = MatMul(x, w) }", {"w": (20, 3)}),
    "prime rows": ("g (float[197, 20] x) => (float[197, 48] y) { y = MatMul(x, w) }", {"w": (20, 48)}),
    "columns that do not fill vectors": (
        "g (float[50, 40] x) => (float[50, 40] y) { y = MatMul(x, w) }",
        {"w": (40, 40)},
    ),
    "sums in blocks": ("g (float[24, 480] x) => (float[24, 64] y) { y = MatMul(x, w) }", {"w": (480, 64)}),
    "more weights than cache": ("g (float[9, 80] x) => (float[9, 1009] y) { y = MatMul(x, w) }", {"w": (80, 1009)}),
    "both odd": ("g (float[61, 20] x) => (float[61, 149] y) { y = MatMul(x, w) }", {"w": (20, 149)}),
    "vector": ("g (float[1, 300] x) => (float[1, 70] y) { y = MatMul(x, w) }", {"w": (300, 70)}),
    "batch": ("g (float[3, 20, 8] x, float[3, 8, 15] w) => (float[3, 20, 15] y) { y = MatMul(x, w) }", {}),
    "bias and activation": (
        "g (float[24, 32] x) => (float[24, 48] y) { p = MatMul(x, w)\n s = Add(p, b)\n y = Relu(s) }",
        {"w": (32, 48), "b": (48,)},
    ),
    "double": ("g (double[24, 32] x, double[32, 48] w) => (double[24, 48] y) { y = MatMul(x, w) }", {}),
    "convolution": (
        "g (float[1, 6, 14, 15] x) => (float[1, 24, 14, 15] y) { y = Conv<pads = [1, 1, 1, 1]>(x, w) }",
        {"w": (24, 6, 3, 3)},
    ),
    "strided": (
        "g (float[2, 8, 16, 17] x) => (float[2, 13, 8, 9] y) { y = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w) }",
        {"w": (13, 8, 3, 3)},
    ),
    "depthwise": (
        "g (float[1, 20, 9, 40] x) => (float[1, 20, 9, 40] y) { y = Conv<group = 20, pads = [2, 2, 2, 2]>(x, w) }",
        {"w": (20, 1, 5, 5)},
    ),
    "depthwise in pieces": (
        "g (float[1, 32, 60, 40] x) => (float[1, 32, 30, 20] y) {\n"
        + "y = Conv<group = 32, pads = [1, 1, 1, 1], strides = [2, 2]>(x, w) }",
        {"w": (32, 1, 3, 3)},
    ),
    "dense to few channels": (
        "g (float[1, 12, 14, 15] x) => (float[1, 24, 14, 15] y) { c = Conv<pads = [1, 1, 1, 1]>(x, w, b)\n y = Relu(c) }",
        {"w": (24, 12, 3, 3), "b": (24,)},
    ),
    "dense to one channel": (
        "g (float[1, 12, 14, 15] x) => (float[1, 1, 14, 15] y) { y = Conv<pads = [1, 1, 1, 1]>(x, w) }",
        {"w": (1, 12, 3, 3)},
    ),
    "groups": (
        "g (float[1, 8, 9, 9] x) => (float[1, 12, 7, 7] y) { y = Conv<group = 4>(x, w) }",
        {"w": (12, 2, 3, 3)},
    ),
    "one by one": ("g (float[1, 30, 7, 7] x) => (float[1, 40, 7, 7] y) { y = Conv(x, w) }", {"w": (40, 30, 1, 1)}),
    "images one column wide": (
        "g (float[1, 6, 50, 1] x) => (float[1, 16, 48, 1] y) { y = Conv(x, w) }",
        {"w": (16, 6, 3, 1)},
    ),
    "one-dimensional": (
        "g (float[1, 5, 50] x) => (float[1, 7, 50] y) { y = Conv<pads = [1, 1]>(x, w) }",
        {"w": (7, 5, 3)},
    ),
    "transposed": (
        "g (float[1, 4, 6, 6] x) => (float[1, 3, 12, 12] y) { y = ConvTranspose<strides = [2, 2]>(x, w) }",
        {"w": (4, 3, 2, 2)},
    ),
    "pooling": (
        "g (float[1, 5, 9, 9] x) => (float[1, 5, 4, 4] y) { y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(x) }",
        {},
    ),
    "padded pooling": (
        "g (float[1, 5, 9, 9] x) => (float[1, 5, 9, 9] y) { y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) }",
        {},
    ),
    "mean of an image": ("g (float[1, 40, 6, 20] x) => (float[1, 40, 1, 1] y) { y = GlobalAveragePool(x) }", {}),
    "softmax": ("g (float[3, 130] x) => (float[3, 130] y) { y = Softmax(x) }", {}),
    "normalization": ("g (float[9, 96] x) => (float[9, 96] y) { y = LayerNormalization(x, s) }", {"s": (96,)}),
    "sum of rows": ("g (float[5, 48] x) => (float[5] y) { y = ReduceL1<axes = [1], keepdims = 0>(x) }", {}),
    "largest of columns": ("g (float[31, 48] x) => (float[48] y) { y = ReduceMax<axes = [0], keepdims = 0>(x) }", {}),
    "everything": ("g (float[5, 7, 11] x) => (float y) { y = ReduceMax<keepdims = 0>(x) }", {}),
    "element-wise": ("g (float[3, 1, 7] x, float[5, 1] z) => (float[3, 5, 7] y) { y = Mul(x, z) }", {}),
    "transposition": ("g (float[2, 9, 17] x) => (float[17, 2, 9] y) { y = Transpose<perm = [2, 0, 1]>(x) }", {}),
    "concatenation": ("g (float[2, 9] x, float[2, 4] z) => (float[2, 13] y) { y = Concat<axis = 1>(x, z) }", {}),
    "scalar": ("g (float x, float z) => (float y) { y = Add(x, z) }", {}),
}


@pytest.mark.parametrize("name", KERNELS)
def test_every_candidate_computes_what_the_kernel_does(name: str, kernels: CompilerProcess, tmp_path: Path) -> None:
    text, shapes = KERNELS[name]
    found = ask(kernels, "candidates", model(text, **{n: random(*s) for n, s in shapes.items()}), tmp_path)
    assert found
    for kernel, checked in found.items():
        assert checked["schedules"] > 0, kernel
        assert checked["error"] < (1e-12 if name == "double" else 3e-6), kernel
        assert checked["same"], kernel


@pytest.mark.parametrize(
    "name",
    [
        "convolution",
        "strided",
        "depthwise",
        "depthwise in pieces",
        "dense to few channels",
        "dense to one channel",
        "groups",
        "one by one",
        "pooling",
    ],
)
def test_so_it_does_with_channels_last(name: str, kernels: CompilerProcess, tmp_path: Path) -> None:
    text, shapes = KERNELS[name]
    made = model(text, **{n: random(*s) for n, s in shapes.items()})
    for kernel, checked in ask(kernels, "candidates", made, tmp_path, layout="nhwc").items():
        assert checked["schedules"] > 0 and checked["error"] < 3e-6 and checked["same"], kernel


def test_the_last_dimension_that_is_not_one_is_vectorized(kernels: CompilerProcess, tmp_path: Path) -> None:
    text, shapes = KERNELS["images one column wide"]
    made = model(text, **{n: random(*s) for n, s in shapes.items()})
    (convolution,) = ask(kernels, "candidates", made, tmp_path).values()
    assert convolution["vectorized"]


@pytest.mark.parametrize("size", [6624, 6625])
def test_long_sums_keep_small_terms(size: int, kernels: CompilerProcess) -> None:
    """As of a Softmax over many classes: one chain of additions would lose 1.7e-4 here, sixteen lose 1.0e-5."""
    x = np.full(size, 2.5e-8, np.float32)
    x[0] = 1.0
    found = kernels.request("row_sums", {"x": x.tobytes().hex(), "target": machine_target(detect(), 2)})
    (result,) = np.frombuffer(bytes.fromhex(found["sum"]), np.float32)
    assert abs(float(result) / x.astype(np.float64).sum() - 1) < 1.1e-5


def product(rows: int, terms: int, columns: int) -> ir.Model:
    text = f"g (float[{rows}, {terms}] x) => (float[{rows}, {columns}] y) {{ y = MatMul(x, w) }}"
    return model(text, w=random(terms, columns))


def run_whole(process: CompilerProcess, found: ir.Model, x: np.ndarray, folder: Path, **more: Any) -> dict[str, Any]:
    return ask(process, "whole", found, folder, x=x.tobytes().hex(), shape=list(x.shape), **more)


@pytest.mark.parametrize(("rows", "terms", "columns"), [(40, 120, 665), (7, 1152, 192), (1, 480, 120), (33, 64, 24)])
def test_weights_in_the_order_of_tiles(
    rows: int, terms: int, columns: int, kernels: CompilerProcess, tmp_path: Path
) -> None:
    made, x = product(rows, terms, columns), random(rows, terms)
    found = run_whole(kernels, made, x, tmp_path)
    y = np.frombuffer(bytes.fromhex(found["y"]), np.float32).reshape(rows, columns)
    weights = made.graph.initializers["w"].const_value
    assert weights is not None
    wanted = x.astype(np.float64) @ weights.numpy().astype(np.float64)
    assert np.abs(y - wanted).max() / np.abs(wanted).max() < 1e-6


def test_large_weights_are_fetched_ahead(kernels: CompilerProcess, tmp_path: Path) -> None:
    def fetches(rows: int, terms: int, columns: int, threads: int) -> int:
        target, x = machine_target(detect(), threads), random(rows, terms)
        found = run_whole(kernels, product(rows, terms, columns), x, tmp_path, target=target)
        return int(found["fetches"])

    assert fetches(40, 256, 640, threads=1) > 0
    assert fetches(40, 16, 64, threads=1) == 0
    assert fetches(40, 256, 640, threads=2) == 0
    assert fetches(40, 512, 640, threads=2) == 1, "which keeps the sums of earlier blocks in memory"


def test_columns_of_zeros_fill_vectors_up(kernels: CompilerProcess, tmp_path: Path) -> None:
    lanes = detect().simd_bits // 32
    for columns, wide in ((2 * lanes - 3, 2 * lanes), (2 * lanes, 2 * lanes), (4, 4), (3, 4), (1, 1)):
        found = run_whole(kernels, product(9, 20, columns), random(9, 20), tmp_path)
        assert [20, wide] in found["shapes"], columns


def test_weights_take_turns_to_be_cold(kernels: CompilerProcess) -> None:
    shapes = [[40, 512], [512, 1024], [40, 1024]]
    assert kernels.request("turns", {"shapes": shapes, "constant": [1]}) == {"turns": 5, "arrays": [1, 5, 1]}
    assert kernels.request("turns", {"shapes": [[8, 64], [64, 64]], "constant": [1]})["turns"] == 1
    assert kernels.request("turns", {"shapes": shapes, "constant": []})["turns"] == 1


@pytest.mark.parametrize("rows", [1, 12])
def test_long_products_keep_small_terms(rows: int, kernels: CompilerProcess, tmp_path: Path) -> None:
    """One chain of additions would lose all terms but the first, 3e-5 of the sum; four chains lose a quarter of that."""
    terms = 1024
    x = np.full((rows, terms), 2.0**-25, np.float32)
    x[:, 0] = 1.0
    made = model(
        f"g (float[{rows}, {terms}] x) => (float[{rows}, 32] y) {{ y = MatMul(x, w) }}",
        w=np.ones((terms, 32), np.float32),
    )
    y = np.frombuffer(bytes.fromhex(run_whole(kernels, made, x, tmp_path)["y"]), np.float32)
    assert np.abs(y / x[0].astype(np.float64).sum() - 1).max() < 1e-5


SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0, 88.7, 88.73, 89.5, -87.4, -103.9, -104.5, 3e38, -3e38, 1e-40, -1e-40]
LIMITS = {"float32": 3.0, "float16": 1.0, "float64": 4.0}
"""Units in the last place."""


@pytest.mark.parametrize("dtype", LIMITS)
def test_functions_are_as_good_as_the_c_library(dtype: str, kernels: CompilerProcess) -> None:
    with np.errstate(over="ignore"):
        near = np.geomspace(1e-7, 12, 1500)
        x = np.concatenate([near, -near, np.linspace(-110, 95, 3000), SPECIAL]).astype(dtype)
    x = np.pad(x, (0, -len(x) % 8))
    arguments = {"x": x.tobytes().hex(), "dtype": dtype, "target": machine_target(detect(), 2)}
    found = kernels.request("functions", arguments)
    for name, function in {"exp": np.exp, "tanh": np.tanh, "erf": erf}.items():
        result = np.frombuffer(bytes.fromhex(found[name]), dtype)
        with np.errstate(all="ignore"):
            exact = function(x.astype(np.longdouble if dtype == "float64" and name != "erf" else np.float64))
            wanted = exact.astype(dtype)
        assert np.array_equal(np.isnan(result), np.isnan(wanted)), name
        assert np.array_equal(np.isinf(result), np.isinf(wanted)), name
        finite = np.isfinite(wanted)
        smallest = np.finfo(dtype).tiny
        unit = np.spacing(np.maximum(np.abs(wanted[finite]), smallest))
        assert (np.abs(result[finite] - exact[finite]) / unit).max() <= LIMITS[dtype], name


CLIPPED = """
    g (float[1, 8, 6, 6] x) => (float[1, 8, 6, 6] y) {
        c = Conv<pads = [1, 1, 1, 1]>(x, w)
        a = Add(three, c)
        l = Clip(a, low, high)
        m = Mul(l, c)
        s = HardSigmoid(m)
        t = Mul(m, s)
        y = Conv<pads = [1, 1, 1, 1]>(t, w)
    }
"""


def clipped() -> ir.Model:
    """Between two convolutions everything that TVM's layout conversion stumbles over."""
    bounds = {"three": np.float32(3), "low": np.float32(0), "high": np.array([6], np.float32)[0]}
    return model(CLIPPED, w=random(8, 8, 3, 3), **bounds)


def test_only_the_ends_of_a_network_are_transposed(kernels: CompilerProcess, tmp_path: Path) -> None:
    made = clipped()
    found = ask(kernels, "transpositions", made, tmp_path, layout="nhwc")
    assert found == {"permute_dims": 2, "isnan": 0, "reshape": 0, "clip": 0}
    assert ask(kernels, "transpositions", made, tmp_path, layout="nchw")["permute_dims"] == 0


def test_a_network_with_channels_last_computes_the_same(kernels: CompilerProcess, tmp_path: Path) -> None:
    for checked in ask(kernels, "candidates", clipped(), tmp_path, layout="nhwc").values():
        assert checked["error"] < 3e-6
