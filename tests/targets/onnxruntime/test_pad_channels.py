from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.pad_channels import PadChannels, wanted
from tests.models import Array, assert_close, check, elements, model, op_types, random, run

X = {"x": random(2, 3, 8, 8)}


def net(
    body: str, channels: int = 5, *, end: str = "y = Conv(t, v)", more: str = "", weights: Mapping[str, Array] = {}
) -> ir.Model:
    """``a`` comes out of the first Conv with ``channels`` channels; the last Conv reads ``t``."""
    known = {
        "w": 0.3 * random(channels, 3, 3, 3),
        "b": random(channels),
        "v": 0.3 * random(6, channels, 1, 1),
        "d": 0.3 * random(channels, 1, 3, 3),
        **weights,
    }
    text = f"a = Conv<pads = [1, 1, 1, 1]>(x, w, b) {body} {end}"
    read = set(re.findall(r"\w+", text))
    graph = f"g (float[N, 3, 8, 8] x) => (float[N, 6, h, k] y{more}) {{ {text} }}"
    found = model(graph, **{name: np.asarray(a, np.float32) for name, a in known.items() if name in read})
    return inferred(found)


def inferred(found: ir.Model) -> ir.Model:
    """With the shapes of all values."""
    import onnx

    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), strict_mode=True))


def pad(found: ir.Model) -> PassResult:
    result = PadChannels()(found)
    check(found)
    assert not PadChannels()(found).modified
    return result


BODIES = {
    "activation": "t = Relu(a)",
    "an activation that is not 0 at 0": "t = Sigmoid(a)",
    "several consumers": "s = Sigmoid(a) t = Mul(a, s)",
    "depthwise": "t = Conv<group = 5, pads = [1, 1, 1, 1]>(a, d)",
    "depthwise with bias": "t = Conv<group = 5>(a, d, b)",
    "pools": "m = MaxPool<kernel_shape = [2, 2]>(a) t = AveragePool<kernel_shape = [2, 2]>(m)",
    "batch normalization": "t = BatchNormalization(a, b2, b, b, b2)",
    "constants": "p = Mul(a, c) q = Sub(k, p) t = Add(q, s0)",
    "gate": "p = GlobalAveragePool(a) g = HardSigmoid(p) t = Mul(a, g)",
    "residual of a second writer": "z = Conv<pads = [1, 1, 1, 1]>(x, w) t = Add(a, z)",
}
CONSTANTS = {"b2": np.abs(random(5)) + 1, "c": random(5, 1, 1), "k": random(1, 5, 1, 1), "s0": np.array(0.5)}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_pads_what_lies_between_convolutions(body: str) -> None:
    found = net(body, weights=CONSTANTS)
    want = run(found, X)
    assert pad(found).modified
    assert elements(found, next(n for n in found.graph.initializers if n == "v")).shape == (6, 8, 1, 1)
    assert_close(want, run(found, X))


@pytest.mark.parametrize(
    ("channels", "block", "padded"),
    [(3, 8, 3), (4, 8, 8), (5, 8, 8), (8, 8, 8), (10, 8, 12), (22, 8, 24), (8, 16, 16), (7, 16, 7), (22, 16, 24)],
)
def test_how_many_channels(channels: int, block: int, padded: int) -> None:
    assert wanted(channels, block) == padded


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (net("t = Softmax<axis = 1>(a)"), "Softmax is in the way"),
        (net("t = Log(a)"), "Log is in the way"),
        (net("t = Relu(a) z = Relu(t)", more=", float[N, 5, 8, 8] t"), "the tensor is an input or output of the graph"),
        (net("t = Relu(a) z = Transpose(t)", more=", float[8, 8, 5, N] z"), "Transpose is in the way"),
        (net("t = Mul(a, c)", weights={"c": random(8, 8)}), "Mul is in the way"),
    ],
)
def test_near_misses(found: ir.Model, reason: str) -> None:
    result = pad(found)
    assert not result.modified
    assert {skip.reason for skip in result.skips} == {reason}


def test_inputs_of_the_graph_are_left_alone() -> None:
    found = inferred(model("g (float[1, 5, 8, 8] x) => (float[1, 6, 8, 8] y) { y = Conv(x, v) }", v=random(6, 5, 1, 1)))
    assert {s.reason for s in pad(found).skips} == {"the tensor is an input or output of the graph"}


def test_enough_channels() -> None:
    result = pad(net("t = Relu(a)", 8))
    assert not result.modified
    assert not result.skips


def test_a_weight_that_another_convolution_reads_stays() -> None:
    found = net("t = Relu(a) z = Conv<pads = [1, 1, 1, 1]>(x, w) u = Exp(z)", more=", float[N, 5, 8, 8] u")
    want = run(found, X)
    assert pad(found).modified
    assert elements(found, "w").shape == (5, 3, 3, 3)
    assert_close(want, run(found, X))


def test_inside_a_subgraph() -> None:
    found = model(
        """g (bool c, float[2, 3, 8, 8] x) => (float[2, 6, 8, 8] y) {
        y = If (c) <
            then_branch = t () => (float[2, 6, 8, 8] p) {
                a = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(a) p = Conv(r, v)
            },
            else_branch = f () => (float[2, 6, 8, 8] q) { q = Conv(x, u) }
        >
    }""",
        w=0.3 * random(5, 3, 3, 3),
        v=random(6, 5, 1, 1),
        u=random(6, 3, 1, 1),
    )
    found = inferred(found)
    feeds = {"c": np.array(True), **X}
    want = run(found, feeds)
    result = pad(found)
    assert result.modified or {s.reason for s in result.skips} == {
        "not four dimensions with a known number of channels"
    }
    assert_close(want, run(found, feeds))
    assert op_types(found) == ["If"]
