from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.layout.fold_channel_shuffle import FoldChannelShuffle
from tests.models import Array, assert_close, check, model, op_types, random, run, same_bits

SHUFFLE = "r = Reshape(s, split) t = Transpose<perm=[0,2,1,3,4]>(r) u = Reshape(t, join)"
"""s: (N, 12, 6, 5) -> u, three groups of four channels."""
FOUR = "group=4, kernel_shape=[1,1]"
DEPTHWISE = "group=12, kernel_shape=[3,3], pads=[1,1,1,1]"


def fold(found: ir.Model) -> PassResult:
    result = FoldChannelShuffle()(found)
    check(found)
    assert not FoldChannelShuffle()(found).modified
    return result


def shuffled(lines: str, dtype: str = "float", batch: str = "N", outputs: str = "y", opset: int = 17) -> ir.Model:
    numpy: Any = {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
    weights = {
        "w": random(7, 12, 3, 3) / 8,
        "v": random(12, 12, 1, 1, seed=1) / 4,
        "f": random(12, 3, 1, 1, seed=2),
        "d": random(12, 1, 3, 3, seed=3) / 3,
        "d2": random(24, 1, 3, 3, seed=4) / 3,
        "w24": random(5, 24, 1, 1, seed=5) / 5,
        "g2": random(8, 6, 1, 1, seed=13),
        "b": random(12, seed=6),
        "b7": random(7, seed=7),
        "b24": random(24, seed=8),
        "c": random(12, 1, 1, seed=9),
        "k": np.array(0.3),
        "scale": random(12, seed=10),
        "mean": random(12, seed=11),
        "var": np.abs(random(12, seed=12)) + 0.5,
    }
    shapes = {"split": np.array([-1, 3, 4, 6, 5]), "join": np.array([-1, 12, 6, 5])}
    names = ", ".join(f"{dtype}[{batch},A{i},B{i},C{i}] {name}" for i, name in enumerate(outputs.split()))
    used = {n: a for n, a in {**{k: a.astype(numpy) for k, a in weights.items()}, **shapes}.items()}
    text = f"g ({dtype}[{batch},12,6,5] x) => ({names}) {{ {lines} }}"
    found = model(
        text,
        opset,
        **{n: a for n, a in used.items() if n in text.replace("(", " ").replace(",", " ").replace(")", " ").split()},
    )
    infer_shapes(found)
    return found


def feeds(dtype: str = "float") -> dict[str, Array]:
    return {
        "x": random(2, 12, 6, 5, seed=20).astype(
            {"float": np.float32, "double": np.float64, "float16": np.float16}[dtype]
        )
    }


BEHIND = {
    "Conv": f"s = Relu(x) {SHUFFLE} y = Conv(u, w, b7)",
    "no bias": f"s = Relu(x) {SHUFFLE} y = Conv(u, w)",
    "activations": f"s = Relu(x) {SHUFFLE} a = Sigmoid(u) e = Clip(a, k) y = Conv(e, w)",
    "BatchNormalization": f"s = Relu(x) {SHUFFLE} a = BatchNormalization(u, scale, b, mean, var) y = Conv(a, w)",
    "arithmetic": f"s = Relu(x) {SHUFFLE} a = Mul(u, c) e = Sub(k, a) h = Add(e, c) y = Conv(h, w)",
    "pool": f"s = Relu(x) {SHUFFLE} a = MaxPool<kernel_shape=[2,2]>(u) y = Conv(a, w)",
    "depthwise": f"s = Relu(x) {SHUFFLE} a = Conv<{DEPTHWISE}>(u, d, b) y = Conv(a, w)",
    "depthwise with a multiplier": f"s = Relu(x) {SHUFFLE} a = Conv<{DEPTHWISE}>(u, d2, b24) y = Conv(a, w24)",
    "two convolutions": f"s = Relu(x) {SHUFFLE} a = Conv(u, v) e = Relu(u) h = Conv(e, v) y = Add(a, h)",
    "input of the graph": "r = Reshape(x, split) t = Transpose<perm=[0,2,1,3,4]>(r) u = Reshape(t, join) y = Conv(u, w)",
}
BEFORE = {
    "Conv": f"s = Conv(x, v, b) {SHUFFLE} y = Relu(u)",
    "graph output": f"s = Conv(x, v) {SHUFFLE} y = Identity(u)",
    "chain": f"e = Conv(x, v, b) h = BatchNormalization(e, scale, b, mean, var) a = Mul(c, h) s = Relu(a) {SHUFFLE} y = Neg(u)",
    "depthwise": f"e = Conv(x, v) a = Relu(e) s = Conv<{DEPTHWISE}>(a, d, b) {SHUFFLE} y = Conv<{FOUR}>(u, f)",
}  # fmt: skip


@pytest.mark.parametrize("lines", [*BEHIND.values(), *BEFORE.values()], ids=[*BEHIND, *(f"before {k}" for k in BEFORE)])
@pytest.mark.parametrize("batch", ["2", "N"])
def test_folds_into_convolutions(lines: str, batch: str) -> None:
    found = shuffled(lines, batch=batch)
    wanted = run(found, feeds())
    assert fold(found).counts == {"shuffles folded": 1}
    assert not {"Reshape", "Transpose"} & set(op_types(found))
    assert not {"split", "join"} & set(found.graph.initializers)
    assert_close(wanted, run(found, feeds()))


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_other_element_types(dtype: str) -> None:
    """In ONNX's reference evaluator: ONNX Runtime has no convolution of doubles."""
    found = shuffled(f"s = Relu(x) {SHUFFLE} y = Conv(u, w, b7)", dtype)
    (wanted,) = ReferenceEvaluator(ir.to_proto(found)).run(None, feeds(dtype))
    assert fold(found).modified
    (result,) = ReferenceEvaluator(ir.to_proto(found)).run(None, feeds(dtype))
    assert_close([np.asarray(wanted)], [np.asarray(result)])


def test_groups_that_move_as_a_whole_pass_the_order_on() -> None:
    """Behind a depthwise convolution that doubles them, channels move in pairs: so do groups of two channels."""
    text = f"""g (float[N,12,6,5] x) => (float[N,A,B,C] y) {{
        s = Relu(x) {SHUFFLE} a = Conv<group=12>(u, d2) e = Conv<group=12>(a, p, q) y = Conv(e, o)
    }}"""
    found = model(
        text, split=np.array([-1, 3, 4, 6, 5]), join=np.array([-1, 12, 6, 5]), d2=random(24, 1, 3, 3),
        p=random(36, 2, 1, 1, seed=1), q=random(36, seed=2), o=random(5, 36, 1, 1, seed=3),
    )  # fmt: skip
    infer_shapes(found)
    wanted = run(found, feeds())
    assert fold(found).counts == {"shuffles folded": 1}
    assert_close(wanted, run(found, feeds()))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (f"s = Conv<{FOUR}>(x, f) {SHUFFLE} y = Conv<{FOUR}>(u, f)", "stops at a convolution in groups that it mixes"),
        (f"s = Relu(x) {SHUFFLE} y = Relu(u)", "the channels of a graph output"),
        (f"s = Relu(x) {SHUFFLE} y = Add(u, x)", "stops at Add with an operand that is not constant"),
        (f"s = Relu(x) {SHUFFLE} y = Softmax(u)", "stops at Softmax"),
        (f"s = Relu(x) {SHUFFLE} e = Conv(u, v) y = Add(e, u)", "stops at Add with an operand that is not constant"),
    ],
)
def test_near_misses_have_reasons(lines: str, reason: str) -> None:
    found = shuffled(lines)
    result = fold(found)
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


@pytest.mark.parametrize(
    ("split", "join", "reason"),
    [
        ([-1, 3, 4, 5, 6], [-1, 12, 6, 5], None),
        ([-1, 3, 4, 30, 1], [0, 12, 6, -1], None),
        ([0, 3, 4, 6, -1], [0, 12, -1, 5], None),
        ([2, 3, 4, 6, 5], [2, 12, 6, 5], None),
        ([-1, 3, 4, 6, 5], [-1, 12, 5, 6], "the second Reshape does not undo the first"),
        ([-1, 3, 2, 12, 5], [-1, 12, 6, 5], "the Reshape does not split the channels only"),
        ([-1, 3, 4, 6, 5], [-1, 6, 12, 5], "the second Reshape does not undo the first"),
        ([1, 3, 4, 12, -1], [-1, 12, 6, 5], "the Reshape does not split the channels only"),
    ],
)
def test_spellings_of_the_shapes(split: list[int], join: list[int], reason: str | None) -> None:
    text = f"g (float[N,12,6,5] s) => (float[N,A,B,C] y) {{ {SHUFFLE} z = Reshape(u, back) y = Conv(z, w) }}"
    if reason is None:
        text = f"g (float[N,12,6,5] s) => (float[N,A,B,C] y) {{ {SHUFFLE} y = Conv(u, w) }}"
    weights = {"split": np.array(split), "join": np.array(join), "w": random(7, 12, 3, 3)}
    found = model(text, 17, **weights, **({} if reason is None else {"back": np.array([-1, 12, 6, 5])}))
    infer_shapes(found)
    samples = {"s": random(2, 12, 6, 5)}
    wanted = run(found, samples)
    result = fold(found)
    assert [skip.reason for skip in result.skips] == ([] if reason is None else [reason])
    assert_close(wanted, run(found, samples))


def test_unknown_sizes_are_refused() -> None:
    text = f"g (float[N,12,H,5] s) => (float[N,A,B,C] y) {{ {SHUFFLE} y = Conv(u, w) }}"
    found = model(text, split=np.array([0, 3, 4, -1, 5]), join=np.array([0, 12, -1, 5]), w=random(7, 12, 3, 3))
    infer_shapes(found)
    assert [skip.reason for skip in fold(found).skips] == ["the shapes around the shuffle are not known"]


def test_what_is_read_inside_the_shuffle_keeps_it() -> None:
    found = model(
        f"g (float[N,12,6,5] s) => (float[N,A,B,C] y, float[N,3,4,6,5] r) {{ {SHUFFLE} y = Conv(u, w) }}",
        split=np.array([-1, 3, 4, 6, 5]), join=np.array([-1, 12, 6, 5]), w=random(7, 12, 3, 3),
    )  # fmt: skip
    infer_shapes(found)
    assert [skip.reason for skip in fold(found).skips] == ["something else reads inside the shuffle"]


def test_other_readers_of_what_is_shuffled_keep_their_channels() -> None:
    found = shuffled(f"s = Conv(x, v) {SHUFFLE} e = Conv(u, v) h = Relu(s) y = Add(e, h)")
    wanted = run(found, feeds())
    assert fold(found).counts == {"shuffles folded": 1}
    assert_close(wanted, run(found, feeds()))
    found = shuffled(f"s = Conv(x, v) {SHUFFLE} e = Relu(u) y = Add(e, s)")
    assert not fold(found).modified


def test_a_shared_weight_stays_for_its_other_reader() -> None:
    found = shuffled(
        f"s = Conv(x, v, b) {SHUFFLE} a = Conv(u, v, b) h = BatchNormalization(a, b, b, b, var) y = Conv(h, v)"
    )
    wanted = run(found, feeds())
    assert fold(found).counts == {"shuffles folded": 1}
    assert_close(wanted, run(found, feeds()))


STRIDED = "group=12, kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]"


@pytest.mark.parametrize("batch", ["2", "N"])
@pytest.mark.parametrize(
    "tail",
    ["y = Conv<{FOUR}>(i, f)", "y = Identity(i)", "j = Relu(i) z = Abs(i) y = Sub(j, z)"],
)  # fmt: skip
def test_moves_behind_a_depthwise_convolution_with_a_stride(tail: str, batch: str) -> None:
    lines = f"s = Conv<{FOUR}>(x, f) {SHUFFLE} a = Relu(u) h = Conv<{STRIDED}>(a, d, b) i = Mul(h, c) " + tail.replace(
        "{FOUR}", FOUR
    )
    found = shuffled(lines, batch=batch)
    wanted = run(found, feeds())
    assert fold(found).counts == {"shuffles moved": 1}
    assert op_types(found)[:6] == ["Conv", "Relu", "Conv", "Reshape", "Transpose", "Reshape"]
    assert same_bits(wanted, run(found, feeds()))


def test_inside_a_subgraph() -> None:
    text = f"""g (bool c, float[2,12,6,5] x) => (float[2,7,4,3] y) {{
        y = If (c) < then_branch = p () => (float[2,7,4,3] a) {{ s = Relu(x) {SHUFFLE} a = Conv(u, w) }},
                     else_branch = q () => (float[2,7,4,3] b) {{ b = Conv(x, w) }} >
    }}"""
    found = model(text, split=np.array([-1, 3, 4, 6, 5]), join=np.array([-1, 12, 6, 5]), w=random(7, 12, 3, 3))
    infer_shapes(found)
    wanted = [run(found, {**feeds(), "c": np.array(c)}) for c in (True, False)]
    assert fold(found).modified
    for c, before in zip((True, False), wanted, strict=True):
        assert_close(before, run(found, {**feeds(), "c": np.array(c)}))


def test_a_result_that_a_subgraph_captures_is_refused() -> None:
    text = f"""g (bool c, float[2,12,6,5] x) => (float[2,7,4,3] y) {{
        s = Relu(x) {SHUFFLE}
        y = If (c) < then_branch = p () => (float[2,7,4,3] a) {{ a = Conv(u, w) }},
                     else_branch = q () => (float[2,7,4,3] b) {{ b = Conv(x, w) }} >
    }}"""
    found = model(text, split=np.array([-1, 3, 4, 6, 5]), join=np.array([-1, 12, 6, 5]), w=random(7, 12, 3, 3))
    infer_shapes(found)
    assert [skip.reason for skip in fold(found).skips] == ["read in too many places"]


def test_below_opset_7_nothing_is_done() -> None:
    found = shuffled(f"s = Relu(x) {SHUFFLE} y = Conv(u, w)", opset=6)
    assert [skip.reason for skip in fold(found).skips] == ["opset below 7"]
