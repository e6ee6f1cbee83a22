"""What the legalizations make of small models is imported by TVM and computes what ONNX Runtime computes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassContext
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.targets.tvm.legalize import LEGALIZATION
from tests.models import Array, random, run

F = np.float32
RNG = np.random.default_rng(5)
BYTES = RNG.integers(0, 256, (1, 3, 6, 5)).astype(np.uint8)
SMALL = RNG.integers(-40, 40, (4, 3, 3, 3)).astype(np.int8)
INF_ROWS = np.array([[-np.inf, -np.inf], [1, -np.inf], [2, 3]], F)

Case = tuple[str, int, Mapping[str, Array], Mapping[str, Array]]
"""Graph, operator set, weights, feeds."""


def recurrent(kind: str, gates: int, directions: int, more: str = "") -> Case:
    states = "y, h, c" if kind == "LSTM" else "y, h"
    outputs = "".join(f", float[d, b, n] {s}" for s in states.split(", ")[1:])
    direction = "bidirectional" if directions == 2 else "reverse"
    text = f"""g (float[20, 2, 3] x) => (float[t, d, b, n] y{outputs})
        {{ {states} = {kind}<hidden_size = 4, direction = "{direction}"{more}>(x, w, r, b_) }}"""
    weights = {
        "w": 0.5 * random(directions, 4 * gates, 3, seed=1),
        "r": 0.5 * random(directions, 4 * gates, 4, seed=2),
        "b_": 0.5 * random(directions, 8 * gates, seed=3),
    }
    return text, 17, weights, {"x": random(20, 2, 3)}


SCALES: dict[str, Array] = {
    "xs": np.array(0.02, F),
    "xz": np.array(117, np.uint8),
    "ws": np.array([0.01, 0.02, 0.013, 0.005], F),
    "wz": np.zeros(4, np.int8),
    "ys": np.array(0.09, F),
    "yz": np.array(121, np.uint8),
}
BOTH = {"k": np.array(True), "x": random(2, 3)}
IF = """g (bool k, float[2, 3] x) => (float[2, 3] y) { y = If (k) <
    then_branch = t () => (float[2, 3] p) { p = Relu(x) }, else_branch = e () => (float[2, 3] q) { a = Neg(x) q = Exp(a) }> }"""
QMATMUL = "g (uint8[2, 3] a) => (uint8[2, 4] y) { y = QLinearMatMul(a, xs, xz, b, ws, wz, ys, yz) }"
ROTARY = "g (float[1, 2, 3, 8] x, int64[1, 3] i) => (float[1, 2, 3, 8] y) { y = RotaryEmbedding(x, c, s, i) }"
MASKED = "g (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y) { y = Attention(x, x, x, m) }"
LAYER_NORM = "g (float[3, 4] x) => (float[3, 4] y, float[3, 1] m, float[3, 1] s) { y, m, s = LayerNormalization(x, w) }"
POOL = 'MaxPool<kernel_shape = [3, 3], auto_pad = "SAME_LOWER", strides = [2, 2]>'

CASES: dict[str, Case] = {
    "lstm": recurrent("LSTM", 4, 2),
    "gru": recurrent("GRU", 3, 2),
    "gru-linear": recurrent("GRU", 3, 1, ", linear_before_reset = 1"),
    "rnn": recurrent("RNN", 1, 1),
    "if-true": (IF, 17, {}, BOTH),
    "if-false": (IF, 17, {}, {**BOTH, "k": np.array(False)}),
    "qlinear-conv": (
        "g (uint8[1, 3, 6, 5] x) => (uint8[a, b, c, d] y) { y = QLinearConv<pads = [1, 1, 1, 1]>(x, xs, xz, w, ws, wz, ys, yz) }",
        17,
        {**SCALES, "w": SMALL},
        {"x": BYTES},
    ),
    "conv-integer": (
        "g (uint8[1, 3, 6, 5] x) => (int32[a, b, c, d] y) { y = ConvInteger(x, w, xz) }",
        17,
        {"w": SMALL, "xz": SCALES["xz"]},
        {"x": BYTES},
    ),
    "qlinear-matmul": (
        QMATMUL,
        17,
        {**SCALES, "b": SMALL[0, 0, :, [0, 1, 2, 1]].T.copy()},
        {"a": BYTES[0, 0, :2, :3].copy()},
    ),
    "dynamic-quantization": (
        "g (float[3, 4] x) => (uint8[3, 4] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }",
        17,
        {},
        {"x": random(3, 4)},
    ),
    "zeros-quantized": (
        "g (float[3, 4] x) => (uint8[3, 4] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }",
        17,
        {},
        {"x": np.zeros((3, 4), F)},
    ),
    "dynamic-matmul": (
        "g (float[3, 4] x) => (float[3, 2] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, s) }",
        17,
        {"w": SMALL[0, 0, :2, [0, 1, 2, 1]].copy(), "s": np.array(0.02, F)},
        {"x": random(3, 4)},
    ),
    "celu": ("g (float[2, 3] x) => (float[2, 3] y) { y = Celu<alpha = 0.7>(x) }", 17, {}, {"x": random(2, 3)}),
    "rotary-embedding": (
        ROTARY,
        23,
        {"c": random(5, 4, seed=1), "s": random(5, 4, seed=2)},
        {"x": random(1, 2, 3, 8), "i": np.array([[2, 0, 4]])},
    ),
    "masked-attention": (
        MASKED,
        23,
        {"m": np.array([[True, False, True], [False, False, False], [True, True, True]])},
        {"x": random(1, 2, 3, 4)},
    ),
    "mean-variance": (
        "g (float[2, 3, 4, 5] x) => (float[2, 3, 4, 5] y) { y = MeanVarianceNormalization(x) }",
        17,
        {},
        {"x": random(2, 3, 4, 5)},
    ),
    "layer-norm-moments": (LAYER_NORM, 17, {"w": random(4)}, {"x": random(3, 4)}),
    "lp": ("g (float[3, 4] x) => (float[3, 4] y) { y = LpNormalization(x) }", 17, {}, {"x": random(3, 4)}),
    "one-hot": (
        "g (int64[3] i) => (float[3, 4] y) { y = OneHot(i, d, v) }",
        17,
        {"d": np.array([4]), "v": np.array([0.5, 2], F)},
        {"i": np.array([1, -1, 7])},
    ),
    "old-slice": (
        "g (float[3, 5] x) => (float[2, 3] y) { y = Slice<starts = [1, -3], ends = [3, 5]>(x) }",
        9,
        {},
        {"x": random(3, 5)},
    ),
    "reverse-sequence": (
        "g (float[4, 3, 2] x, int64[3] n) => (float[4, 3, 2] y) { y = ReverseSequence(x, n) }",
        17,
        {},
        {"x": random(4, 3, 2), "n": np.array([4, 1, 2])},
    ),
    "upsample": (
        "g (float[1, 2, 3, 4] x) => (float[1, 2, 6, 8] y) { y = Upsample(x, s) }",
        9,
        {"s": np.array([1, 1, 2, 2], F)},
        {"x": random(1, 2, 3, 4)},
    ),
    "resize": (
        'g (float[1, 2, 11, 7] x) => (float[1, 2, 6, 11] y) { y = Resize<mode = "linear">(x, , s) }',
        17,
        {"s": np.array([1, 1, 0.6, 1.7], F)},
        {"x": random(1, 2, 11, 7)},
    ),
    "conv-transpose": (
        "g (float[1, 2, 3, 4] x) => (float[1, 2, 8, 9] y) { y = ConvTranspose<output_shape = [8, 9], strides = [3, 2]>(x, w) }",
        17,
        {"w": random(2, 2, 3, 4)},
        {"x": random(1, 2, 3, 4)},
    ),
    "pool": (
        f"g (float[1, 2, 6, 8] x) => (float[a, b, c, d] y) {{ y = {POOL}(x) }}",
        17,
        {},
        {"x": random(1, 2, 6, 8)},
    ),
    "infinite-rows": (
        "g (float[3, 2] x) => (bool[3, 1] y) { m = ReduceMax<axes = [1]>(x) y = Equal(m, i) }",
        17,
        {"i": np.array(-np.inf, F)},
        {"x": INF_ROWS},
    ),
    "sign-of-infinity": (
        "g (float[3, 2] x) => (bool[3, 2] y) { y = IsInf<detect_negative = 0>(x) }",
        17,
        {},
        {"x": np.abs(INF_ROWS) * np.array([1, -1], F)},
    ),
}


def build(case: Case) -> ir.Model:
    text, opset, weights, _ = case
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n{text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items())
    return ir.from_proto(proto)


def legalize(found: ir.Model, feeds: Mapping[str, Array]) -> None:
    context = PassContext(InputSpec(tuple(TensorSpec(n, a.dtype, a.shape) for n, a in feeds.items()), {}))
    for cls in LEGALIZATION:
        cls()(found, context)
    again = [cls.name for cls in LEGALIZATION if cls()(found, context).modified]
    assert again == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, legalized and run by TVM."""
    made = tmp_path_factory.mktemp("tvm")
    for name, case in CASES.items():
        found = build(case)
        legalize(found, case[3])
        onnx.save(ir.to_proto(found), made / f"{name}.onnx")
        np.savez(made / f"{name}.npz", **case[3])  # type: ignore[arg-type]
    environment = {**os.environ, "TVM_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = Path(__file__).with_name("tvm_runs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(made)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return made


@pytest.mark.parametrize("name", CASES)
def test_as_in_onnx_runtime(name: str, folder: Path) -> None:
    error = folder / f"{name}.error"
    assert not error.exists(), error.read_text()
    got = list(np.load(folder / f"{name}.out.npz").values())
    wanted = run(build(CASES[name]), CASES[name][3])
    assert [(a.shape, a.dtype) for a in got] == [(a.shape, a.dtype) for a in wanted]
    for g, w in zip(got, wanted, strict=True):
        if w.dtype.kind == "f":
            np.testing.assert_allclose(g, w, rtol=1e-5, atol=2e-6)
        else:
            assert np.array_equal(g, w)
