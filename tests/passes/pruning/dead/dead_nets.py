"""Networks with channels that do nothing, and what tests need to take them out and compare."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.eliminate_dead_channels import EliminateDeadChannels, Options
from tests.models import Array, check, model, random, run

TOLERANCE = 1e-6
"""Normwise, of float32."""
C = 8
IMAGE, ROWS, STEPS = random(2, 3, 9, 8, seed=1), random(4, 6, seed=2), random(5, 2, 6, seed=3)


def difference(wanted: list[Array], found: list[Array]) -> float:
    """Largest normwise relative error."""
    return max(
        float(np.linalg.norm(np.subtract(w, f, dtype=np.float64)) / max(float(np.linalg.norm(w)), 1e-30))
        for w, f in zip(wanted, found, strict=True)
    )


def ready(lines: str, x: str, y: str, opset: int = 17, /, **weights: Array) -> ir.Model:
    """Canonicalized, with those weights that the lines name."""
    words = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: array for name, array in weights.items() if name in words}
    found = model(f"g ({x}) => ({y}) {{ {lines} }}", opset, **used)
    Canonicalize()(found)
    return found


def eliminate(found: ir.Model, feeds: Mapping[str, Array], multiple: int = 1) -> PassResult:
    """Run the pass twice, and compare with the model before."""
    wanted = run(found, feeds)
    result = EliminateDeadChannels(Options(multiple=multiple))(found)
    check(found)
    assert difference(wanted, run(found, feeds)) < TOLERANCE
    assert result.modified == bool(result.counts)
    again = EliminateDeadChannels(Options(multiple=multiple))(found)
    assert not again.modified
    assert set(again.skips) == set(result.skips)
    return result


def channels(result: PassResult) -> dict[str, int]:
    """Counts of channels by cause."""
    return {name.removesuffix(" channels"): n for name, n in result.counts.items() if name.endswith(" channels")}


def rows(seed: int, *shape: int) -> Array:
    """Weights whose rows 1 and 2 are zero, and whose row 5 is row 4."""
    found = random(*shape, seed=seed)
    found[1] = found[2] = 0
    found[5] = found[4]
    return found


BIAS = rows(10, C)
BIAS[2] = 0.75  # row 1 is zero, row 2 constant
WEIGHTS = {
    "w": rows(11, C, 3, 3, 3),
    "b": BIAS,
    "w2": rows(12, C, 3, 3, 3),
    "v": random(4, C, 1, 1, seed=13),
    "v3": random(4, C, 3, 3, seed=14),
    "c": random(4, seed=15),
    "d": np.abs(random(C, 1, 3, 3, seed=16)),
    "e": np.abs(random(C, seed=17)),
    "wt": rows(18, C, 6).T.copy(),
    "wg": rows(18, C, 6),
    "vt": random(C, 4, seed=19),
    "u": random(C * 7 * 6, 4, seed=20),
    "n": random(6, seed=21),
    "v12": random(4, 12, 1, 1, seed=22),
    "k": random(4, 3, 3, 3, seed=23),
    "t": random(C, 4, 2, 2, seed=24),
}
WEIGHTS["v"][:, 3] = 0  # nothing reads channel 3
WEIGHTS["v3"][:, 3] = 0
WEIGHTS["vt"][3] = 0
WEIGHTS["d"][5], WEIGHTS["e"][5] = WEIGHTS["d"][4], WEIGHTS["e"][4]
ALL = {"unread": 1, "zero": 1, "constant": 1, "duplicate": 1}
X, Y = "float[N, 3, 9, 8] x", "float[N, 4, H, V] y"

IMAGES = {
    "plain": ("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v, c)", ALL),
    "no bias behind": ("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v)", ALL),
    "kernel without padding": ("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v3, c)", ALL),
    "a constant meets padding": (
        "h = Conv(x, w, b) r = Relu(h) y = Conv<pads = [1, 1, 1, 1]>(r, v3, c)",
        {"unread": 1, "zero": 1, "duplicate": 1},
    ),
    "a bias of zero": ("h = Conv(x, w) r = Relu(h) y = Conv(r, v, c)", {"unread": 1, "zero": 2, "duplicate": 1}),
    "not zero at zero": ("h = Conv(x, w, b) r = Sigmoid(h) y = Conv(r, v, c)", {**ALL, "constant": 2} | {"zero": 0}),
    "silu": ("h = Conv(x, w, b) s = Sigmoid(h) r = Mul(h, s) y = Conv(r, v, c)", ALL),
    "pooled": ("h = Conv(x, w, b) r = MaxPool<kernel_shape = [2, 2]>(h) y = Conv(r, v)", ALL),
    "mean": ("h = Conv(x, w, b) r = GlobalAveragePool(h) y = Conv(r, v)", ALL),
    "depthwise": (
        "h = Conv(x, w, b) r = Relu(h) z = Conv<group = 8>(r, d, e) q = Relu(z) y = Conv(q, v, c)",
        {"unread": 1, "constant": 2, "duplicate": 1},
    ),
    "residual, both silent": ("h = Conv(x, w, b) i = Conv(x, w2) s = Add(h, i) y = Conv(s, v3, c)", None),
    "transposed": ("h = Conv(x, w) r = Relu(h) y = ConvTranspose(r, t)", {"zero": 2, "duplicate": 1}),
    "transposed, constant": ("h = Conv(x, w, b) r = Relu(h) y = ConvTranspose(r, t)", {"zero": 1, "duplicate": 1}),
    "concatenated": (
        "h = Conv(x, w, b) i = Conv(x, k, c) s = Concat<axis = 1>(i, h) r = Relu(s) y = Conv(r, v12)",
        {"zero": 1, "constant": 1, "duplicate": 1},
    ),
    "two readers": (
        "h = Conv(x, w, b) r = Relu(h) i = Conv(r, v, c) j = Conv(r, v) y = Concat<axis = 2>(i, j)",
        None,
    ),
}
