"""Whatever the inputs are, values stay within their bounds, and slices of one number are equal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.observe import observe
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.dead import functions
from tamis.passes.pruning.dead.fact import Fact, Numbers, collapse, expand
from tamis.passes.pruning.dead.facts import Facts, _table
from tests.models import Array, model, random
from tests.passes.pruning.dead.planting import plant
from tests.passes.pruning.random_graphs import random_graph

SLACK = 1e-5


def wrong(found: ir.Model, feeds: dict[str, Array]) -> Iterator[str]:
    """Values that break what is said of them."""
    facts = Facts(found)
    values = {v.name: v for node in found.graph for v in node.outputs if v.name and facts.of(v) is not None}
    for _, arrays in observe(found, [str(n) for n in values], lambda: [feeds]):
        for name, array in arrays.items():
            fact = facts.of(values[name])
            assert fact is not None
            if array.dtype.kind == "f" and array.size and np.isfinite(array).all():
                yield from _wrong(str(name), fact, array.astype(np.float64))


def _wrong(name: str, fact: Fact, array: Array) -> Iterator[str]:
    slack = SLACK * max(1.0, np.abs(array).max())
    if not ((array >= fact.low - slack) & (array <= fact.high + slack)).all():
        yield f"{name} leaves its bounds"
    told = [i for i, n in enumerate(fact.shape) if n > 1]
    slices = np.moveaxis(array, told, range(len(told))).reshape(fact.number.size, -1)
    first: dict[int, int] = {}
    for i, number in enumerate(fact.number.ravel().tolist()):
        if np.abs(slices[i] - slices[first.setdefault(number, i)]).max() > slack:
            yield f"{name}: slices {first[number]} and {i} are not equal"


@pytest.mark.parametrize("seed", range(16))
def test_hold_on_random_graphs_with_planted_channels(seed: int) -> None:
    found = random_graph(seed)
    plant(found.model, np.random.default_rng(seed))
    assert list(wrong(found.model, found.feeds)) == []


W, B = random(6, 3, 3, 3, seed=1), random(6, seed=2)
W[0] = W[3] = 0
W[1], B[1] = W[4], B[4]
B[0], B[3] = 0, 0.7
CONSTANTS: dict[str, Array] = {
    "w": W,
    "b": B,
    "s": np.abs(random(6, 1, 1, seed=3)),
    "t": random(6, 1, 1, seed=4),
    "u": random(6, 4, 2, 2, seed=5),
    "d": random(6, 1, 3, 3, seed=6),
    "v": random(4, 6, 3, 3, seed=7),
    "m": random(8, 5, seed=8),
    "g": np.array([0, 1, 0.5, 2, -1, 1], np.float32),
    "q": np.abs(random(6, seed=10)) + 0.1,
    "f": random(6, 4, seed=11),
    "a": random(8, seed=12),
    "five": np.array(5, np.float32),
    "least": np.array(-1, np.float32),
    "most": np.array(1.5, np.float32),
    "low": np.array(-0.2, np.float32),
    "high": np.array(0.3, np.float32),
    "order": np.array([4, 4, -1, 0]),
    "axes": np.array([1]),
    "halves": np.array([2, 4]),
    "begin": np.array([5]),
    "end": np.array([-7]),
    "back": np.array([-2]),
    "borders": np.array([0, 1, 0, 0, 0, 0, 0, 2]),
    "flat": np.array([0, -1]),
    "wide": np.array([2, 6, 7, 8]),
    "scales": np.array([1, 1, 2, 2], np.float32),
}
SAME = "float[2, 6, 7, 8] y"
UNARY = sorted((functions.INCREASING.keys() | functions.OTHERS.keys()) - {
    "Add", "Sum", "Mean", "Sub", "Mul", "Div", "Min", "Max", "Pow", "PRelu", "Swish", "Gelu", "Log", "Sqrt"
})  # fmt: skip
OPERATORS = {
    **{name: (f"y = {name}(r)", SAME) for name in UNARY},
    "Sqrt and Log": ("p = Relu(r) k = Sqrt(p) i = Exp(k) y = Log(i)", SAME),
    "Gelu": ("y = Gelu(r)", SAME),
    "Gelu by tanh": ("""y = Gelu<approximate = "tanh">(r)""", SAME),
    "rising and falling": ("y = LeakyRelu<alpha = -0.5>(r)", SAME),
    "Add": ("y = Add(r, t)", SAME),
    "Sum": ("y = Sum(r, t, five)", SAME),
    "Mean": ("y = Mean(r, t)", SAME),
    "Sub": ("y = Sub(five, r)", SAME),
    "Mul": ("p = Sigmoid(r) y = Mul(p, r)", SAME),
    "Div": ("y = Div(r, t)", SAME),
    "Min and Max": ("p = Min(r, five) y = Max(t, p)", SAME),
    "Pow": ("p = Sigmoid(r) y = Pow(p, five)", SAME),
    "PRelu": ("y = PRelu(r, t)", SAME),
    "Clip": ("y = Clip(r, low, high)", SAME),
    "Cast": ("p = Cast<to = 11>(r) y = Cast<to = 1>(p)", SAME),
    "Conv": ("y = Conv<pads = [1, 1, 1, 1]>(r, v)", "float[2, 4, 7, 8] y"),
    "depthwise": ("y = Conv<group = 6>(r, d)", "float[2, 6, 5, 6] y"),
    "ConvTranspose": ("y = ConvTranspose<strides = [2, 2]>(r, u)", "float[2, 4, 14, 16] y"),
    "grouped transposed": ("y = ConvTranspose<group = 2, strides = [3, 1]>(r, u)", "float[2, 8, 20, 9] y"),
    "MatMul": ("y = MatMul(r, m)", "float[2, 6, 7, 5] y"),
    "Gemm": ("p = GlobalMaxPool(r) k = Flatten(p) y = Gemm<alpha = 0.5, beta = 2.0>(k, f, low)", "float[2, 4] y"),
    "transposed Gemm": (
        "p = GlobalAveragePool(r) k = Flatten(p) z = Transpose<perm = [1, 0]>(k) y = Gemm<transA = 1>(z, f)",
        "float[2, 4] y",
    ),
    "products of values": ("p = Transpose<perm = [0, 1, 3, 2]>(r) y = MatMul(r, p)", "float[2, 6, 7, 7] y"),
    "Flatten": ("y = Flatten(r)", "float[2, 336] y"),
    "Reshape": ("y = Reshape(r, flat)", "float[2, 336] y"),
    "Squeeze": ("p = GlobalMaxPool(r) z = Unsqueeze(p, axes) y = Squeeze(z, axes)", "float[2, 6, 1, 1] y"),
    "Transpose": ("y = Transpose<perm = [3, 1, 0, 2]>(r)", "float[8, 6, 2, 7] y"),
    "Concat": ("p = Relu(r) y = Concat<axis = 1>(r, p, r)", "float[2, 18, 7, 8] y"),
    "Concat of others": ("p = Relu(r) y = Concat<axis = 2>(r, p)", "float[2, 6, 14, 8] y"),
    "Split": ("p, k = Split<axis = 1>(r, halves) y = Concat<axis = 1>(k, p)", SAME),
    "Slice": ("y = Slice(r, begin, end, axes, back)", "float[2, 3, 7, 8] y"),
    "Gather": ("y = Gather<axis = 1>(r, order)", "float[2, 4, 7, 8] y"),
    "Pad": ("y = Pad(r, borders, five)", "float[2, 7, 7, 10] y"),
    "Expand": ("p = GlobalMaxPool(r) y = Expand(p, wide)", SAME),
    "Resize": ("""y = Resize<mode = "linear">(r, , scales)""", "float[2, 6, 14, 16] y"),
    "DepthToSpace": ("p = Conv(r, v) y = DepthToSpace<blocksize = 2>(p)", "float[2, 1, 10, 12] y"),
    "DepthToSpace, by columns": (
        """p = Concat<axis = 1>(r, r) y = DepthToSpace<blocksize = 2, mode = "CRD">(p)""",
        "float[2, 3, 14, 16] y",
    ),
    "BatchNormalization": ("y = BatchNormalization(r, g, b, b, q)", SAME),
    "LayerNormalization": ("y = LayerNormalization(r, a)", SAME),
    "Softmax": ("p = Softmax<axis = 1>(r) y = Mul(p, p)", SAME),
    "LogSoftmax": ("y = LogSoftmax<axis = 1>(r)", SAME),
    "MaxPool": ("y = MaxPool<kernel_shape = [2, 2]>(r)", "float[2, 6, 6, 7] y"),
    "AveragePool": (
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(r)",
        SAME,
    ),
    "ReduceSum": ("y = ReduceSum<keepdims = 0>(r, axes)", "float[2, 7, 8] y"),
    "ReduceMax": ("y = ReduceMax<axes = [2, -1]>(r)", "float[2, 6, 1, 1] y"),
    "ReduceMean": ("y = ReduceMean<axes = [2], keepdims = 0>(r)", "float[2, 6, 8] y"),
    "ReduceMin": ("y = ReduceMin(r)", "float[1, 1, 1, 1] y"),
}


def net(lines: str, outputs: str) -> ir.Model:
    words = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: array for name, array in CONSTANTS.items() if name in words | {"w", "b", "least", "most"}}
    opset = 20 if words & {"Gelu", "Mish"} or "Gelu<" in lines else 17
    text = f"g (float[2, 3, 9, 10] x) => ({outputs}) {{ h = Conv(x, w, b) r = Clip(h, least, most) {lines} }}"
    found = model(text, opset, **used)
    Canonicalize()(found)
    return found


@pytest.mark.parametrize(("lines", "outputs"), OPERATORS.values(), ids=OPERATORS.keys())
def test_hold_for_each_operator(lines: str, outputs: str) -> None:
    assert list(wrong(net(lines, outputs), {"x": 3 * random(2, 3, 9, 10)})) == []


def test_every_rule_is_tried() -> None:
    tried = " ".join(lines for lines, _ in OPERATORS.values())
    recurrent = {"LSTM", "GRU", "RNN"}
    later = {"Swish"}  # opset 24
    absent = {name for name in _table() if f" {name}(" not in f" {tried}" and f" {name}<" not in f" {tried}"}
    assert absent - recurrent - later == {"Identity", "Dropout", "Upsample"}  # canonicalize removes the first two


def bounds(lines: str, outputs: str, **constants: Array) -> tuple[list[float], list[float], list[int]]:
    """Of the channels of the last value but one."""
    found = model(f"g (float[N, 2, 4, 4] x) => ({outputs}) {{ {lines} }}", **constants)
    Canonicalize()(found)
    fact = Facts(found).of(list(found.graph)[-1].inputs[0])
    assert fact is not None
    low, high = fact.at(1)
    return low.tolist(), high.tolist(), fact.number.ravel().tolist()


def test_bounds_of_a_convolution_are_those_of_its_weights() -> None:
    weights = np.array([[1, 2], [-1, 0.5], [0, 0], [-1, -2]], np.float32).reshape(4, 2, 1, 1)
    low, high, _ = bounds(
        "s = Sigmoid(x) h = Conv(s, w, b) y = Relu(h)",
        "float[N, 4, 4, 4] y",
        w=weights,
        b=np.array([0, 0, 3, -0.5], np.float32),
    )
    assert low == [0, -1, 3, -3.5]
    assert high == [3, 0.5, 3, -0.5]


def test_a_border_of_zeros_counts() -> None:
    low, high, _ = bounds(
        "c = Clip(x, five, six) h = Conv<pads = [1, 0, 0, 0]>(c, w) y = Relu(h)",
        "float[N, 1, 5, 4] y",
        w=np.ones((1, 2, 1, 1), np.float32),
        five=np.array(5, np.float32),
        six=np.array(6, np.float32),
    )
    assert (low, high) == ([0], [12])


def test_equal_filters_have_one_number_and_others_have_not() -> None:
    weights, bias = random(4, 2, 1, 1), np.array([1, 1, 1, 2], np.float32)
    weights[1] = weights[3] = weights[0]
    numbers = bounds("h = Conv(x, w, b) y = Relu(h)", "float[N, 4, 4, 4] y", w=weights, b=bias)[2]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3


def test_unknown_bounds_with_weights_of_zero_are_known() -> None:
    weights = np.array([[0, 0], [0, 1]], np.float32).reshape(2, 2, 1, 1)
    low, high, _ = bounds("h = Conv(x, w) y = Relu(h)", "float[N, 2, 4, 4] y", w=weights)
    assert (low, high) == ([0, -np.inf], [0, np.inf])


def test_positions_told_apart_and_put_together_again() -> None:
    numbers = Numbers()
    whole = Fact(np.full((1, 1), -1.0), np.full((1, 1), 2.0), np.full((1, 1), numbers.fresh()))
    apart = expand(whole, 1, 3, numbers)
    assert len(set(apart.number.ravel().tolist())) == 3
    assert apart.number.tolist() == expand(whole, 1, 3, numbers).number.tolist()
    again = collapse(apart, (1,), numbers)
    assert (again.low.item(), again.high.item()) == (-1, 2)


def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(functions.OTHERS, "Sub", functions.OTHERS["Add"])
    assert list(wrong(net(*OPERATORS["Sub"]), {"x": random(2, 3, 9, 10)}))
