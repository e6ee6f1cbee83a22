"""Small images in one long row: computed as before, in the tile with all that follows element by element."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from tamis.compiler.machine import find_machine
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target
from tests.models import model, random, run
from tests.targets.tvm.tuning.test_default_schedule import run_whole

BLOCK = """g (float[1, 32, {size}, {size}] x) => (float[1, 32, {size}, {size}] y) {{
    a = Conv(x, expand, one) b = Relu(a)
    c = Conv<pads = [1, 1, 1, 1], group = 112>(b, depth) d = Relu(c)
    m = GlobalAveragePool(d) s = Sigmoid(m) e = Mul(d, s)
    f = Conv(e, project) y = Add(f, x)
}}"""


def block(size: int) -> ir.Model:
    """An inverted residual, squeezed and excited without weights."""
    weights = {"expand": random(112, 32, 1, 1), "depth": random(112, 1, 3, 3), "project": random(32, 112, 1, 1)}
    return model(BLOCK.format(size=size), one=random(112), **weights)


def shapes_of(size: int, kernels: CompilerProcess, folder: Path) -> list[list[int]]:
    made, x = block(size), random(1, 32, size, size, seed=1)
    target = machine_target(find_machine("x86-64-avx2"), 2)
    found = run_whole(kernels, made, x, folder, layout="nhwc", target=target)
    (wanted,) = run(made, {"x": x})
    y = np.frombuffer(bytes.fromhex(found["y"]), np.float32).reshape(wanted.shape)
    assert np.abs(y - wanted).max() / np.abs(wanted).max() < 1e-5
    shapes: list[list[int]] = found["shapes"]
    return shapes


def test_a_residual_block_of_few_pixels_is_one_row(kernels: CompilerProcess, tmp_path: Path) -> None:
    shapes = shapes_of(14, kernels, tmp_path)
    assert shapes.count([1, 1, 196, 32]) == 5, "out of a transposition, into both convolutions, out of one, to the last"
    assert shapes.count([1, 1, 196, 112]) == 2
    assert shapes.count([1, 14, 14, 112]) == 4, "the depthwise convolution and the mean see images"


def test_rows_that_tiles_divide_stay(kernels: CompilerProcess, tmp_path: Path) -> None:
    assert not [s for s in shapes_of(24, kernels, tmp_path) if s[:2] == [1, 1] and s[2:3] == [576]]
