"""Times of kernels: every node of the model is covered once, by the kernel that computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.subject import name_nodes
from tamis.compiler.errors import RuntimeFailureError
from tamis.compiler.machine import find_machine
from tamis.compiler.target import NodeTime
from tamis.targets.onnxruntime.optimized_graph import kernels_of
from tamis.targets.onnxruntime.profile import Event, times_of
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tamis.targets.onnxruntime.settings import OnnxRuntimeOptions
from tests.models import Array, model, random

HOST = find_machine("host")
NET = """g (float[1, 16, 8, 8] x) => (float[1, 16, 1, 1] y) {
    [conv] c = Conv<pads = [1, 1, 1, 1]>(x, w)
    [norm] n = BatchNormalization(c, s, s, s, s)
    [relu] r = Relu(n)
    [gate] g1 = HardSigmoid(r)
    [product] p = Mul(r, g1)
    [second] d = Conv(p, v)
    [pool] y = GlobalAveragePool(d)
}"""


def net() -> ir.Model:
    positive = np.abs(random(16)) + 1
    return model(NET, w=random(16, 16, 3, 3), v=random(16, 16, 1, 1), s=positive)


def profile(found: ir.Model, feeds: dict[str, Array], *, optimize: bool = True, threads: int = 1) -> list[NodeTime]:
    runtime = OnnxRuntime(OnnxRuntimeOptions(threads=threads))
    return runtime.profile(found, feeds, HOST, 0.05, lambda fraction, note: None, optimize=optimize)


def covered(times: Sequence[NodeTime]) -> list[str]:
    return [name for time in times for name in time.covers]


@pytest.mark.parametrize("optimize", [True, False])
def test_each_node_is_covered_once(optimize: bool) -> None:
    found = net()
    times = profile(found, {"x": random(1, 16, 8, 8)}, optimize=optimize)
    assert sorted(covered(times)) == sorted(str(node.name) for node in found.graph)
    assert all(time.nanoseconds > 0 for time in times)
    if not optimize:
        assert [time.covers for time in times] == [(node.name,) for node in found.graph]
        assert [time.op_type for time in times] == [node.op_type for node in found.graph]


def test_fused_nodes_belong_to_the_kernel_that_computes_them() -> None:
    times = profile(net(), {"x": random(1, 16, 8, 8)})
    assert ("conv", "norm", "relu") in [time.covers for time in times]
    assert [time.op_type for time in times if not time.covers] in ([], ["layout change"] * 2, ["layout change"])


def test_a_product_in_a_gemm_between_reshapes() -> None:
    found = model(
        "g (float[2, 3, 4] x) => (float[2, 3, 5] y) { [product] h = MatMul(x, w) [bias] y = Add(h, b) }",
        w=random(4, 5),
        b=random(5),
    )
    times = profile(found, {"x": random(2, 3, 4)})
    assert [(t.op_type, t.covers) for t in times if t.covers] == [("Gemm", ("product", "bias"))]
    assert {t.op_type for t in times if not t.covers} <= {"layout change"}


def test_graphs_inside_count_under_their_node() -> None:
    found = model(
        """g (int64 n, float[4, 4] x) => (float[4, 4] y) <float[4, 4] h> {
            [loop] h = Loop(n, , x) <body = b (int64 i, bool go, float[4, 4] k) => (bool again, float[4, 4] l) {
                again = Identity(go)
                l = MatMul(k, w)
            }>
            [negate] y = Neg(h)
        }""",
        w=random(4, 4),
    )
    name_nodes(found)
    one, many = (profile(found, {"n": np.array(n), "x": random(4, 4)}) for n in (1, 200))
    assert [t.covers for t in many] == [("loop",), ("negate",)]
    assert many[0].nanoseconds > 5 * one[0].nanoseconds


def test_the_model_is_left_as_it_is() -> None:
    found = net()
    before = ir.to_onnx_text(found)
    profile(found, {"x": random(1, 16, 8, 8)})
    assert ir.to_onnx_text(found) == before


def optimized(text: str, **weights: Array) -> ir.Model:
    header = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft.nchwc" : 1]>\n'
    return ir.from_onnx_text(header + text, initializers=[ir.tensor(a, name=n) for n, a in weights.items()])


def test_what_a_blocked_convolution_takes_in() -> None:
    """An Add and an activation behind it go without a trace but the number of inputs and an attribute."""
    given = model(
        """g (float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) <float[1, 16, 8, 8] c, float[1, 16, 8, 8] a> {
            [conv] c = Conv(x, w)
            [sum] a = Add(c, x)
            [act] h = HardSigmoid(a)
            [last] y = Neg(h)
        }""",
        w=random(16, 16, 1, 1),
    )
    made = optimized(
        """g (float[1, 16, 8, 8] x, float[16, 16, 1, 1] w) => (float[1, 16, 8, 8] y) {
            [ReorderInput] i = com.microsoft.nchwc.ReorderInput(x)
            [c_nchwc] t = com.microsoft.nchwc.Conv<activation = "HardSigmoid">(i, w, , i)
            [ReorderOutput] h = com.microsoft.nchwc.ReorderOutput(t)
            [last] y = Neg(h)
        }"""
    )
    assert [(k.nodes, k.covers) for k in kernels_of(given, made)] == [
        ((0,), ()),
        ((1,), ("conv", "sum", "act")),
        ((2,), ()),
        ((3,), ("last",)),
    ]


def events(*runs: Sequence[tuple[str, str, int, int]]) -> list[Event]:
    """What the profiler writes for runs of (name, operator, start, duration)."""
    found: list[Event] = []
    for i, run in enumerate(runs):
        found.append({"cat": "Session", "name": "model_run", "ts": 1000 * i, "dur": 900, "args": {}})
        found += [
            {"cat": "Node", "name": f"{n}_kernel_time", "ts": 1000 * i + t, "dur": d, "args": {"op_name": op}}
            for n, op, t, d in run
        ]
    return found


WHOLE = (("if", "If", 1, 100), ("last", "Neg", 10, 50), ("last", "Neg", 101, 20))
"""The node inside the If is called like one outside."""
PAIR = "g (bool c, float[2] x) => (float[2] y) { [if] h = Neg(x) [last] y = Neg(h) }"


def pair() -> list[ir.Node]:
    nodes = list(model(PAIR).graph)
    nodes[0].op_type = "If"
    return nodes


def test_times_are_the_middle_half_of_whole_runs() -> None:
    slow = (("if", "If", 1, 900), ("last", "Neg", 950, 20))
    torn = (("if", "If", 1, 100),)
    found = times_of(events(slow, slow, WHOLE, WHOLE, slow, WHOLE, WHOLE, torn), pair())
    assert found.tolist() == [100 * 1000 + 500, 20 * 1000 + 500]


def test_a_profile_without_a_whole_run_is_an_error() -> None:
    with pytest.raises(RuntimeFailureError, match="no run was recorded"):
        times_of(events(WHOLE, WHOLE, (("if", "If", 1, 100),)), pair())
