"""Units of recurrent layers and of attention that do nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.models import Array, random
from tests.passes.pruning.dead.dead_nets import BIAS, STEPS, WEIGHTS, C, channels, eliminate, ready

H = 4


def gates(seed: int, count: int, *shape: int) -> Array:
    """Weights ``(1, count H, ...)``; units 1 are silent, units 3 are like units 2."""
    found = random(1, count * H, *shape, seed=seed)
    found[0, 1::H] = 0
    found[0, 3::H] = found[0, 2::H]
    return found


RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("op_type", RECURRENT)
@pytest.mark.parametrize("outputs", ["s", ", s"], ids=["steps", "last state"])
def test_hidden_units(op_type: str, outputs: str) -> None:
    count = RECURRENT[op_type]
    weights = {
        "i": gates(40, count, 6),
        "r": gates(41, count, H),
        "b": gates(42, 2 * count),
        "m": random(H, 5, seed=43),
        "axes": np.array([1 if outputs == "s" else 0]),
    }
    lines = f"{outputs} = {op_type}<hidden_size = {H}>(x, i, r, b) q = Squeeze(s, axes) y = MatMul(q, m)"
    shape = "float[5, 2, 5] y" if outputs == "s" else "float[2, 5] y"
    found = ready(lines, "float[5, 2, 6] x", shape, **weights)
    assert channels(eliminate(found, {"x": STEPS})) == {"zero": 1, "duplicate": 1}
    assert next(n for n in found.graph if n.op_type == op_type).attributes.get_int("hidden_size", 0) == 2


@pytest.mark.parametrize("op_type", RECURRENT)
def test_units_that_start_elsewhere_stay(op_type: str) -> None:
    count = RECURRENT[op_type]
    weights = {
        "i": gates(40, count, 6),
        "r": gates(41, count, H),
        "b": gates(42, 2 * count),
        "m": random(H, 5, seed=43),
        "start": np.full((1, 2, H), 0.5, np.float32),
        "axes": np.array([1]),
    }
    lines = f"s = {op_type}<hidden_size = {H}>(x, i, r, b, , start) q = Squeeze(s, axes) y = MatMul(q, m)"
    found = ready(lines, "float[5, 2, 6] x", "float[5, 2, 5] y", **weights)
    assert channels(eliminate(found, {"x": STEPS})) == {"duplicate": 1}
    weights["start"] = weights["start"] * np.arange(H, dtype=np.float32)
    found = ready(lines, "float[5, 2, 6] x", "float[5, 2, 5] y", **weights)
    assert not eliminate(found, {"x": STEPS}).modified


def test_constants_go_into_the_bias_of_a_recurrent_layer() -> None:
    weights = {"i": random(1, 4 * H, C, seed=44), "r": random(1, 4 * H, H, seed=45), "m": random(H, 5, seed=46)}
    lines = (
        "g = MatMul(x, wt) h = Add(g, b) z = Relu(h) s = LSTM<hidden_size = 4>(z, i, r) q = Squeeze(s, axes) "
        "y = MatMul(q, m)"
    )
    weights |= {"wt": WEIGHTS["wt"], "b": BIAS, "axes": np.array([1])}
    found = ready(lines, "float[5, 2, 6] x", "float[5, 2, 5] y", **weights)
    assert channels(eliminate(found, {"x": STEPS})) == {"zero": 1, "constant": 1, "duplicate": 1}


def attention(q: Array, k: Array, v: Array, o: Array) -> ir.Model:
    """Two heads of four, over eight features."""
    lines = (
        "ql = MatMul(x, q) qr = Reshape(ql, split) qt = Transpose<perm = [0, 2, 1, 3]>(qr) "
        "kl = MatMul(x, k) kr = Reshape(kl, split) kt = Transpose<perm = [0, 2, 3, 1]>(kr) "
        "vl = MatMul(x, v) vr = Reshape(vl, split) vt = Transpose<perm = [0, 2, 1, 3]>(vr) "
        "s = MatMul(qt, kt) p = Softmax<axis = -1>(s) m = MatMul(p, vt) mt = Transpose<perm = [0, 2, 1, 3]>(m) "
        "mr = Reshape(mt, joined) y = MatMul(mr, o)"
    )
    constants = {"split": np.array([0, 0, 2, 4]), "joined": np.array([0, 0, 8])}
    return ready(lines, "float[2, 5, 8] x", "float[2, 5, 8] y", q=q, k=k, v=v, o=o, **constants)


def test_a_head_that_nothing_reads_goes_and_so_does_a_part_of_all_queries() -> None:
    q, k, v, o = (random(8, 8, seed=50 + i) for i in range(4))
    o[4:] = 0
    found = attention(q, k, v, o)
    x = random(2, 5, 8, seed=60)
    eliminate(found, {"x": x})
    assert [tuple(value.shape or ()) for n, value in found.graph.initializers.items() if n[0] in "qkvo"] == [
        (8, 4), (8, 4), (8, 4), (4, 8)
    ]  # fmt: skip
    q[:, [1, 5]] = 0
    found = attention(q, k, v, random(8, 8, seed=61))
    assert channels(eliminate(found, {"x": x})) == {"zero": 1}
    assert min(tuple(value.shape or ()) for n, value in found.graph.initializers.items() if n[0] in "qkv") == (8, 6)
