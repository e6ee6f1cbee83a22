from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.canonicalize.simplify_reshapes import SimplifyReshapes
from tests.models import Array, check, elements, model, nodes, op_types, random, run, same_bits


def simplify(found: ir.Model) -> PassResult:
    infer_shapes(found)
    result = SimplifyReshapes()(found)
    check(found)
    assert not SimplifyReshapes()(found).modified
    return result


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def shape_of(found: ir.Model) -> list[int]:
    (node,) = (node for node in found.graph if node.op_type == "Reshape")
    value = node.inputs[1]
    assert value is not None and value.name is not None
    return [int(n) for n in elements(found, value.name)]


def same_as_before(found: ir.Model, *feeds: Array) -> PassResult:
    wanted = [run(found, {"x": x}) for x in feeds]
    result = simplify(found)
    for x, want in zip(feeds, wanted, strict=True):
        assert same_bits(want, run(found, {"x": x}))
    return result


CHAINS: dict[str, tuple[str, str, dict[str, Array], list[int]]] = {
    "two reshapes": ("2, 3, 4", "a = Reshape(x, s) y = Reshape(a, t)", {"s": ints(6, 4), "t": ints(-1, 8)}, [3, 8]),
    "flatten": ("2, 3, 4", "a = Flatten<axis = 2>(x) y = Reshape(a, s)", {"s": ints(8, 3)}, [8, 3]),
    "squeeze": ("2, 1, 4", "a = Squeeze(x, i) y = Flatten<axis = 0>(a)", {"i": ints(1)}, [1, 8]),
    "squeeze all": ("2, 1, 4, 1", "a = Squeeze(x) y = Unsqueeze(a, i)", {"i": ints(-1)}, [2, 4, 1]),
    "zero": ("2, 3, 4", "a = Reshape(x, s) y = Reshape(a, t)", {"s": ints(0, -1), "t": ints(0, 4, 3)}, [2, 4, 3]),
    "transpose": (
        "2, 1, 1, 4",
        "a = Transpose<perm = [0, 3, 1, 2]>(x) y = Flatten(a)",
        {},
        [2, 4],
    ),
    "between reshapes": (
        "2, 3, 4",
        "a = Reshape(x, s) b = Transpose<perm = [1, 0, 2]>(a) y = Reshape(b, t)",
        {"s": ints(1, 6, 4), "t": ints(3, 8)},
        [3, 8],
    ),
    "long": (
        "2, 3, 4",
        "a = Unsqueeze(x, i) b = Flatten<axis = 2>(a) c = Reshape(b, s) d = Unsqueeze(c, i) y = Flatten<axis = 2>(d)",
        {"i": ints(0), "s": ints(4, 6)},
        [4, 6],
    ),
    "dynamic, sizes in their places": (
        "N, 1, 4, 1",
        "a = Squeeze(x, i) y = Unsqueeze(a, j)",
        {"i": ints(1), "j": ints(1, 2)},
        [0, 1, 1, 4, 1],
    ),
    "dynamic, one size elsewhere": (
        "N, 1, 4",
        "a = Unsqueeze(x, i) y = Squeeze(a, j)",
        {"i": ints(0), "j": ints(2)},
        [1, -1, 4],
    ),
    "dynamic, rest and zero": (
        "N, 4, M",
        "a = Reshape(x, s) y = Reshape(a, t)",
        {"s": ints(0, 2, 2, -1), "t": ints(0, 4, -1)},
        [],
    ),
    "dynamic, flattened": ("N, 4, M", "a = Flatten(x) y = Reshape(a, s)", {"s": ints(0, 2, -1)}, [0, 2, -1]),
    "zero of a size that moves": ("N, 3, 4", "a = Reshape(x, s) y = Reshape(a, s)", {"s": ints(0, -1)}, [0, 12]),
}


@pytest.mark.parametrize(("shape", "lines", "constants", "target"), CHAINS.values(), ids=CHAINS.keys())
def test_chains(shape: str, lines: str, constants: dict[str, Array], target: list[int]) -> None:
    rank = {len(target)} if target else {3}
    output = ", ".join(f"D{i}" for i in range(rank.pop()))
    found = model(f"g (float[{shape}] x) => (float[{output}] y) {{ {lines} }}", 17, **constants)
    sizes = [[{"N": n, "M": 5}.get(s.strip()) or int(s.strip()) for s in shape.split(",")] for n in (2, 7)]
    assert same_as_before(found, *(random(*s) for s in sizes)).modified
    assert op_types(found) == (["Reshape"] if target else ["Identity"])
    assert not target or shape_of(found) == target
    assert len(found.graph.initializers) == len(op_types(found)) - (not target)


@pytest.mark.parametrize("dtype", ["float16", "double", "int64", "bool", "string"])
def test_any_type(dtype: str) -> None:
    found = model(
        f"g ({dtype}[2, 3] x) => ({dtype}[6] y) {{ a = Reshape(x, s) y = Reshape(a, t) }}",
        17,
        s=ints(3, 2),
        t=ints(-1),
    )
    numpy: Any = {"double": np.float64, "bool": np.bool_, "string": np.object_}.get(dtype, dtype)
    assert same_as_before(found, np.arange(6).reshape(2, 3).astype(str if dtype == "string" else numpy)).modified
    assert op_types(found) == ["Reshape"]


NEAR = {
    "shape computed": ("N, 4", "a = Unsqueeze(x, i) b = Shape(a) y = Reshape(a, b)", {"i": ints(0)}),
    "real transpose": ("2, 3, 4", "a = Transpose<perm = [1, 0, 2]>(x) y = Reshape(a, t)", {"t": ints(4, 6, 1)}),
    "two sizes elsewhere": ("N, M", "a = Flatten(x) y = Unsqueeze(a, i)", {"i": ints(0)}),
    "squeeze of any": ("N, 1, M", "a = Squeeze(x) y = Unsqueeze(a, i)", {"i": ints(0)}),
    "rest where empty tensors are allowed": ("N, 4, 1, M", "a = Flatten(x) y = Unsqueeze(a, i)", {"i": ints(2)}),
}
REASONS = {
    "shape computed": "a shape is not constant",
    "real transpose": "a Transpose moves more than axes of size 1",
    "two sizes elsewhere": "a size of the result is not known",
    "squeeze of any": "which axes a Squeeze removes is not known",
    "rest where empty tensors are allowed": "a size of the result is not known",
}


@pytest.mark.parametrize("name", NEAR)
def test_near_misses(name: str) -> None:
    shape, lines, constants = NEAR[name]
    result = simplify(model(f"g (float[{shape}] x) => (float[A, B, C] y) {{ {lines} }}", 17, **constants))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [REASONS[name]]


@pytest.mark.parametrize(
    "lines",
    [
        "a = Unsqueeze(x, i) y = Unsqueeze(a, i)",
        "a = Transpose<perm = [1, 0, 2, 3]>(x) y = Transpose<perm = [0, 2, 1, 3]>(a)",
        "y = Flatten(x)",
        "a = Relu(x) y = Flatten(a)",
    ],
)
def test_nothing_to_do(lines: str) -> None:
    rank = "A, B" if "Flatten" in lines else "A, B, C, D" if "perm" in lines else "A, B, C, D, E, F"
    result = simplify(model(f"g (float[1, 1, 3, 4] x) => (float[{rank}] y) {{ {lines} }}", 17, i=ints(0)))
    assert not result.modified and not result.skips


def test_allowzero_keeps_a_zero() -> None:
    found = model(
        "g (float[N, 0] x) => (float[A, B, C] y) { a = Flatten(x) y = Reshape<allowzero = 1>(a, s) }",
        17,
        s=ints(0, 3, 2),
    )
    assert not simplify(found).modified


def test_empty_tensors() -> None:
    found = model("g (float[N, 2, 2] x) => (float[A, B] y) { a = Reshape(x, s) y = Reshape(a, t) }", 17,
                  s=ints(-1, 2), t=ints(-1, 4))  # fmt: skip
    assert same_as_before(found, random(0, 2, 2), random(3, 2, 2)).modified


def test_unknown_rank_and_shape_without_zeros() -> None:
    found = model("g (float[A, B] x, int64[K] s) => (float[C, D] y) { a = Reshape(x, s) b = Flatten(a) y = Reshape(b, t) }",
                  17, t=ints(-1, 2))  # fmt: skip
    feeds = {"x": random(4, 6), "s": ints(2, 3, 4)}
    wanted = run(found, feeds)
    assert simplify(found).modified
    assert op_types(found) == ["Reshape", "Reshape"]
    assert same_bits(wanted, run(found, feeds))


def test_readers_of_values_inside_keep_them() -> None:
    found = model(
        "g (float[2, 6] x) => (float[A, B] y, float[C, D] z, float[E, F] a) "
        "{ a = Reshape(x, s) y = Reshape(a, t) z = Relu(a) }",
        17,
        s=ints(3, 4),
        t=ints(4, 3),
    )
    assert same_as_before(found, random(2, 6)).modified
    assert op_types(found) == ["Reshape", "Reshape", "Relu"]


def test_the_shape_that_others_read_stays() -> None:
    found = model(
        "g (float[2, 6] x) => (float[A, B] y, float[C, D] z) "
        "{ a = Reshape(x, s) y = Reshape(a, t) b = Relu(x) z = Reshape(b, s) }",
        17,
        s=ints(3, 4),
        t=ints(4, 3),
    )
    assert same_as_before(found, random(2, 6)).modified
    assert set(found.graph.initializers) == {"s", "t"}


def test_a_round_trip_disappears_between_nodes() -> None:
    found = model(
        "g (float[N, M] x) => (float[N, M] y) { r = Relu(x) a = Unsqueeze(r, i) b = Squeeze(a, i) y = Neg(b) }",
        17,
        i=ints(1),
    )
    assert same_as_before(found, random(2, 6)).modified
    assert op_types(found) == ["Relu", "Neg"] and not found.graph.initializers


def test_inside_a_subgraph_on_a_captured_value() -> None:
    text = """g (bool c, float[2, 3] x) => (float[A, B] y) {
        u = Unsqueeze(x, i)
        y = If (c) <
            then_branch = t () => (float[A, B] a) { v = Squeeze(u, i) w = Unsqueeze(v, i) a = Squeeze(w, i) },
            else_branch = f () => (float[A, B] b) { b = Flatten(u) }
        >
    }"""
    found = model(text, 17, i=ints(0))
    feeds = {"c": np.array(True), "x": random(2, 3)}
    wanted = run(found, feeds)
    assert simplify(found).modified
    assert [n.op_type for n in nodes(found)] == ["Unsqueeze", "If", "Squeeze", "Flatten"]
    assert same_bits(wanted, run(found, feeds))


@pytest.mark.parametrize("opset", [7, 12])
def test_axes_as_attributes(opset: int) -> None:
    found = model(
        "g (float[2, 1, 4] x) => (float[A, B] y) { a = Squeeze<axes = [1]>(x) b = Unsqueeze<axes = [0]>(a) y = Flatten(b) }",
        opset,
    )
    assert same_as_before(found, random(2, 1, 4)).modified
    assert op_types(found) == ["Reshape"]


def test_a_long_chain_becomes_one() -> None:
    lines = "v0 = Reshape(x, s) " + " ".join(f"v{i + 1} = Reshape(v{i}, {'ts'[i % 2]})" for i in range(60))
    found = model(f"g (float[2, 6] x) => (float[A, B] v60) {{ {lines} }}", 17, s=ints(3, 4), t=ints(4, 3))
    assert same_as_before(found, random(2, 6)).modified
    assert op_types(found) == ["Reshape"]


def test_expand_of_expand() -> None:
    found = model("g (float[N, 1] x) => (float[A, B, C] y) { a = Expand(x, s) y = Expand(a, t) }", 17,
                  s=ints(1, 4), t=ints(3, 1, 1))  # fmt: skip
    assert same_as_before(found, random(2, 1), random(1, 1)).modified
    assert op_types(found) == ["Expand"] and len(found.graph.initializers) == 1


def test_expand_by_a_shape_that_is_computed() -> None:
    found = model("g (float[N, 1] x, int64[2] s) => (float[A, B] y) { a = Expand(x, s) y = Expand(a, t) }", 17,
                  t=ints(3, 1))  # fmt: skip
    assert [skip.reason for skip in simplify(found).skips] == ["a shape is not constant"]
