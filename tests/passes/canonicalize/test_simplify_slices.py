from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.canonicalize.simplify_slices import SimplifySlices
from tamis.passes.canonicalize.slice_ranges import OPEN_END, PAST_FRONT
from tests.models import Array, check, model, nodes, op_types, random, run, same_bits


def simplify(found: ir.Model) -> PassResult:
    infer_shapes(found)
    result = SimplifySlices()(found)
    check(found)
    assert not SimplifySlices()(found).modified
    return result


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


NUMBERS = {f"c{n}": ints(n) for n in range(9)} | {"m1": ints(-1), "m2": ints(-2), "open": ints(OPEN_END)}


def net(shape: str, lines: str, outputs: str = "float[A, B] y", opset: int = 17, inputs: str = "") -> ir.Model:
    words = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: array for name, array in NUMBERS.items() if name in words}
    return model(f"g (float[{shape}] x{inputs}) => ({outputs}) {{ {lines} }}", opset, **used)


def same_as_before(found: ir.Model, *feeds: dict[str, Array]) -> PassResult:
    wanted = [run(found, f) for f in feeds]
    result = simplify(found)
    for f, want in zip(feeds, wanted, strict=True):
        assert same_bits(want, run(found, f))
    return result


X = {"x": random(8, 6)}
ENDS = [0, 2, 7, 20, -3, -20]


def test_slices_of_slices_of_known_size() -> None:
    rng = np.random.default_rng(0)
    for a, b, c, d in list(product(ENDS, repeat=4))[::17]:
        s, t = rng.choice([1, 2, -1, -3], 2)
        found = model(
            "g (float[8] x) => (float[N] y) { a = Slice(x, a1, a2, zero, a3) y = Slice(a, b1, b2, zero, b3) }",
            17, a1=ints(a), a2=ints(b), a3=ints(s), b1=ints(c), b2=ints(d), b3=ints(t), zero=ints(0),
        )  # fmt: skip
        assert same_as_before(found, {"x": random(8)}).modified
        assert op_types(found) in (["Slice"], ["Identity"])


def test_slices_of_slices_of_unknown_size() -> None:
    ends = [0, 1, 3, 20]
    for a, b, c, d in product(ends, repeat=4):
        found = model(
            "g (float[K] x) => (float[N] y) { a = Slice(x, a1, a2) y = Slice(a, b1, b2) }",
            17, a1=ints(a), a2=ints(b), b1=ints(c), b2=ints(d),
        )  # fmt: skip
        assert same_as_before(found, {"x": random(8)}, {"x": random(2)}, {"x": random(0)}).modified
        assert op_types(found) == ["Slice"]


def test_backwards_to_the_front() -> None:
    found = model("g (float[8] x) => (float[N] y) { a = Slice(x, s, e, z, t) y = Slice(a, z, k, z) }", 17,
                  s=ints(-1), e=ints(PAST_FRONT), t=ints(-1), z=ints(0), k=ints(8))  # fmt: skip
    assert same_as_before(found, {"x": random(8)}).modified


@pytest.mark.parametrize("shape", ["8, 6", "M, N"])
def test_slices_over_different_axes(shape: str) -> None:
    found = net(shape, "a = Slice(x, c1, m1, c0) y = Slice(a, c2, c5, m1)")
    assert same_as_before(found, X).modified
    assert op_types(found) == ["Slice"]


def test_attributes_of_old_opsets() -> None:
    found = net(
        "8, 6", "a = Slice<starts=[1], ends=[-1], axes=[0]>(x) y = Slice<starts=[1, 1], ends=[3, 4]>(a)", opset=9
    )
    assert same_as_before(found, X).modified
    assert op_types(found) == ["Slice"]


CONCATS: dict[str, tuple[str, list[str]]] = {
    "within the second part": ("c = Concat<axis=1>(x, r) y = Slice(c, c7, m2, c1)", ["Relu", "Slice"]),
    "all of the second part": ("c = Concat<axis=-1>(x, r) y = Slice(c, m6, open, m1)", ["Relu"]),
    "all of it, other axis cut": ("c = Concat<axis=1>(r, x) s = Slice(c, z, zend, z1) y = Neg(s)", ["Relu", "Slice", "Neg"]),
    "over both": ("c = Concat<axis=1>(x, r) y = Slice(c, c5, c7, c1)", ["Relu", "Concat", "Slice"]),
    "over another axis": ("c = Concat<axis=1>(x, r) y = Slice(c, c5, c7, c0)", ["Relu", "Concat", "Slice"]),
    "backwards": ("c = Concat<axis=1>(x, r) y = Slice(c, c8, c5, c1, m1)", ["Relu", "Slice"]),
    "nothing": ("c = Concat<axis=1>(x, r) y = Slice(c, c5, c5, c1)", ["Relu", "Concat", "Slice"]),
    "flattened": ("c = Concat<axis=1>(x, r) y = Concat<axis=-1>(x, c, r)", ["Relu", "Concat"]),
    "over two axes": ("c = Concat<axis=1>(x, r) y = Concat<axis=0>(c, c)", ["Relu", "Concat", "Concat"]),
    "over two axes, once": (
        "c = Concat<axis=1>(x, r) e = Concat<axis=1>(x, x) y = Concat<axis=0>(c, e)",
        ["Relu", "Concat", "Concat", "Concat"],
    ),
    "same twice": ("c = Concat<axis=1>(x, r) y = Concat<axis=1>(c, c)", ["Relu", "Concat", "Concat"]),
    "split and back": ("a, b, d = Split<axis=1>(r) y = Concat<axis=-1>(a, b, d)", ["Relu"]),
    "split and back among others": ("a, b, d = Split<axis=1>(r) y = Concat<axis=1>(x, a, b, d, x)", ["Relu", "Concat"]),
    "split in another order": ("a, b, d = Split<axis=1>(r) y = Concat<axis=1>(b, a, d)", ["Relu", "Split", "Concat"]),
    "split in part": ("a, b, d = Split<axis=1>(r) y = Concat<axis=1>(a, b)", ["Relu", "Split", "Concat"]),
    "split over another axis": ("a, b, d = Split<axis=1>(r) y = Concat<axis=0>(a, b, d)", ["Relu", "Split", "Concat"]),
    "neighbours": ("a = Slice(r, c1, c3, c1) b = Slice(r, c3, m1, c1) y = Concat<axis=1>(a, b)", ["Relu", "Slice"]),
    "neighbours that are all": ("a = Slice(r, c0, c3, c1) b = Slice(r, c3, open, c1) y = Concat<axis=1>(a, b)", ["Relu"]),
    "neighbours in a row": (
        "a = Slice(r, c0, c2, c1) b = Slice(r, c2, c3, c1) d = Slice(r, c4, c5, c1) y = Concat<axis=1>(x, a, b, d)",
        ["Relu", "Slice", "Slice", "Concat"],
    ),
    "overlapping": (
        "a = Slice(r, c0, c3, c1) b = Slice(r, c2, c5, c1) y = Concat<axis=1>(a, b)",
        ["Relu", "Slice", "Slice", "Concat"],
    ),
    "over another axis, slices": (
        "a = Slice(r, c0, c3, c1) b = Slice(r, c3, c6, c1) y = Concat<axis=0>(a, b)",
        ["Relu", "Slice", "Slice", "Concat"],
    ),
    "with other cuts": (
        "a = Slice(r, k0, k1, ax) b = Slice(r, k2, k3, ax) y = Concat<axis=1>(a, b)",
        ["Relu", "Slice"],
    ),
}  # fmt: skip
MORE = {
    "m6": ints(-6), "z": ints(0, 2), "zend": ints(6, 5), "z1": ints(1, 0),
    "k0": ints(0, 1), "k1": ints(2, 5), "k2": ints(2, 1), "k3": ints(5, 5), "ax": ints(1, 0),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "wanted"), CONCATS.values(), ids=CONCATS.keys())
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_concats(lines: str, wanted: list[str], opset: int) -> None:
    words = set(lines.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: array for name, array in {**NUMBERS, **MORE}.items() if name in words}
    found = model(f"g (float[8, 6] x) => (float[A, B] y) {{ r = Relu(x) {lines} }}", opset, **used)
    same_as_before(found, X)
    assert op_types(found) == wanted


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool"])
def test_any_type(dtype: str) -> None:
    found = model(
        f"g ({dtype}[8, 6] x) => ({dtype}[A, B] y) "
        "{ a = Slice(x, c0, c3) b = Slice(x, c3, c5) d = Concat<axis = 0>(a, b) y = Slice(d, c1, c4) }",
        17,
        **{name: NUMBERS[name] for name in ("c0", "c1", "c3", "c4", "c5")},
    )
    assert same_as_before(found, {"x": random(8, 6).astype(dtype)}).modified
    assert op_types(found) == ["Slice"] and len(found.graph.initializers) == 3


def test_neighbours_of_unknown_size() -> None:
    found = net("M, N", "a = Slice(x, c0, c3, c1) b = Slice(x, c3, open, c1) d = Concat<axis = 1>(a, b) y = Neg(d)")
    assert same_as_before(found, X, {"x": random(3, 2)}, {"x": random(2, 0)}).modified
    assert op_types(found) == ["Neg"]


NEAR = {
    "from the end of unknown size": (
        "M, N", "a = Slice(x, c1, m1) y = Slice(a, c1, c3)", {"the size of an axis is not known"}),
    "stepping through unknown size": (
        "M, N", "a = Slice(x, c1, c5, c0, c2) y = Slice(a, c1, c2)", {"the size of an axis is not known"}),
    "parts of unknown size": (
        "M, N", "a = Concat<axis = 0>(x, x) y = Slice(a, c1, c2)", {"the size of an axis is not known"}),
    "read elsewhere": (
        "8, 6", "a = Slice(x, c1, c5) b = Slice(a, c1, c3) n = Neg(a) y = Concat<axis = 0>(b, n)",
        {"something else reads an intermediate value"}),
    "neighbours read elsewhere": (
        "8, 6", "a = Slice(x, c1, c5) b = Slice(x, c5, c6) n = Neg(a) d = Concat<axis = 0>(a, b) y = Concat<axis = 1>(d, d)", set()),
    "concat read elsewhere": (
        "8, 6", "a = Concat<axis = 0>(x, x) b = Concat<axis = 0>(a, x) c = Neg(a) y = Concat<axis = 0>(b, c)", None),
    "neighbours of unknown size, from the end": (
        "M, N", "a = Slice(x, c0, m1) b = Slice(x, m1, c5) y = Concat<axis = 0>(a, b)", set()),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "lines", "reasons"), NEAR.values(), ids=NEAR.keys())
def test_near_misses(shape: str, lines: str, reasons: set[str] | None) -> None:
    result = same_as_before(net(shape, lines), X)
    assert result.modified == (reasons is None)
    assert reasons is None or {skip.reason for skip in result.skips} == reasons


def test_bounds_that_are_computed() -> None:
    found = net("8, 6", "a = Slice(x, c1, e) y = Slice(a, c1, c3)", inputs=", int64[1] e")
    assert {skip.reason for skip in simplify(found).skips} == {"the bounds are not constant"}


def test_a_graph_output_inside_stays() -> None:
    found = net("8, 6", "a = Slice(x, c1, c5) y = Slice(a, c1, c3)", "float[A, B] y, float[C, D] a")
    assert not simplify(found).modified
    found = net("8, 6", "a, b = Split<axis = 0>(x) y = Concat<axis = 0>(a, b)", "float[A, B] y, float[C, D] a")
    assert same_as_before(found, X).modified
    assert op_types(found) == ["Split", "Identity"]


def test_the_bounds_that_others_read_stay() -> None:
    found = net("8, 6", "a = Slice(x, c1, c5) b = Slice(a, c1, c3) n = Neg(x) m = Slice(n, c1, c3) y = Add(b, m)")
    assert same_as_before(found, X).modified
    assert {"c1", "c3"} < set(found.graph.initializers) and "c5" not in found.graph.initializers


def test_inside_a_subgraph_on_a_captured_value() -> None:
    text = """g (bool c, float[8, 6] x) => (float[A, B] y) {
        y = If (c) <
            then_branch = t () => (float[A, B] a) { m = Slice(x, c1, c5) a = Slice(m, c1, c3) },
            else_branch = f () => (float[A, B] b) { p, q = Split<axis = 0>(x) b = Concat<axis = 0>(p, q) }
        >
    }"""
    found = model(text, 17, **{name: NUMBERS[name] for name in ("c1", "c3", "c5")})
    feeds = [{"c": np.array(c), **X} for c in (True, False)]
    assert same_as_before(found, *feeds).modified
    assert [n.op_type for n in nodes(found)] == ["If", "Slice", "Identity"]


def test_nested_concats_become_one() -> None:
    lines = "v0 = Concat<axis = 0>(x, x) " + " ".join(f"v{i + 1} = Concat<axis = 0>(v{i}, x)" for i in range(20))
    found = net("8, 6", lines, "float[A, B] v20")
    assert same_as_before(found, X).modified
    assert op_types(found) == ["Concat"] and len(found.graph[0].inputs) == 22
