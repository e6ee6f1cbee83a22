from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.adversarial import adversarial_feeds
from tamis.compiler.graph_pass import Contract, PassResult
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.verify import Verifier
from tamis.targets.onnxruntime.fuse_attention import FuseAttention
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run

D, H, S = 12, 3, 5
SIZE = D // H
WEIGHTS = {n: 0.4 * random(D, D, seed=i) for i, n in enumerate(("wq", "wk", "wv"))}
BIASES = {n: random(D, seed=10 + i) for i, n in enumerate(("bq", "bk", "bv"))}
NUMBERS = {
    "root": np.array(2, np.float32),
    "half": np.array([0.5], np.float32),
    "cut": np.array([0, 0, H, SIZE]),
    "cut5": np.array([0, 0, 3, H, SIZE]),
    "join": np.array([0, 0, D]),
    "w": np.concatenate(list(WEIGHTS.values()), axis=1),
    "b": np.concatenate(list(BIASES.values())),
    **{f"i{i}": np.array([i]) for i in range(4)},
    **{f"n{i}": np.array(i) for i in range(3)},
    **WEIGHTS,
    **BIASES,
}
QUERY = "q0 = MatMul(x, wq) q1 = Add(q0, bq) q2 = Reshape(q1, cut) q = Transpose<perm = [0, 2, 1, 3]>(q2)"
KEY = "k0 = MatMul(x, wk) k1 = Add(bk, k0) k2 = Reshape(k1, cut) k = Transpose<perm = [0, 2, 3, 1]>(k2)"
VALUE = "v0 = MatMul(x, wv) v1 = Add(v0, bv) v2 = Reshape(v1, cut) v = Transpose<perm = [0, 2, 1, 3]>(v2)"
TAIL = "o0 = MatMul(p, v) o1 = Transpose<perm = [0, 2, 1, 3]>(o0) y = Reshape(o1, join)"
SOFTMAX = "s0 = MatMul(q, k) s1 = Div(s0, root) s = Add(s1, mask) p = Softmax<axis = -1>(s)"
PLAIN = "s0 = MatMul(q, k) p = Softmax<axis = 3>(s0)"
STACK = "a = MatMul(x, w) c = Add(a, b) r = Reshape(c, cut5) t = Transpose<perm = [2, 0, 3, 1, 4]>(r)"
SHAPES = {"v1": f"[2, {S}, {D}]", "s0": f"[2, {H}, {S}, {S}]"}
TURN = "k = Transpose<perm = [0, 1, 3, 2]>(kk)"


def sliced(name: str, i: int) -> str:
    return f"{name}0 = Slice(t, i{i}, i{i + 1}, i0, i1) {name} = Squeeze<axes = [0]>({name}0)"


THREE = f"{QUERY} {KEY} {VALUE}"
TURNED_TWICE = THREE.replace("k = Transpose<perm = [0, 2, 3, 1]>", "kk = Transpose<perm = [0, 2, 1, 3]>") + f" {TURN}"
SCALED_QUERY = THREE.replace("q2 = Reshape(q1", "q9 = Mul(q1, half) q2 = Reshape(q9")
SLICED = f"{STACK} {sliced('q', 0)} {sliced('kk', 1)} {sliced('v', 2)} {TURN} m = Mul(q, half)"
GATHERED = f"{STACK} q = Gather(t, n0) kk = Gather(t, n1) v = Gather(t, n2) {TURN}"
SQUEEZED = " ".join(f"{name} = Squeeze<axes = [0]>({name}0)" for name in ("q", "kk", "v"))
SPLIT = f"{STACK} q0, kk0, v0 = Split<axis = 0>(t) {SQUEEZED} {TURN}"
CUT = " ".join(part[part.index("2 =") - 1 :] for part in (QUERY, KEY, VALUE))
COLUMNS = f"a = MatMul(x, w) c = Add(a, b) q1, k1, v1 = Split<axis = -1>(c) {CUT}"
FORMS = {
    "usual": (17, f"{THREE} {SOFTMAX} {TAIL}"),
    "product with the scale": (17, f"{THREE} {SOFTMAX.replace('Div(s0, root)', 'Mul(half, s0)')} {TAIL}"),
    "mask first": (17, f"{THREE} {SOFTMAX.replace('Add(s1, mask)', 'Add(mask, s1)')} {TAIL}"),
    "no mask, no scale": (17, f"{THREE} {PLAIN} {TAIL}"),
    "scaled query": (17, f"{SCALED_QUERY} {PLAIN} {TAIL}"),
    "no bias of the key": (
        17,
        f"{THREE.replace('k1 = Add(bk, k0) k2 = Reshape(k1', 'k2 = Reshape(k0')} {PLAIN} {TAIL}",
    ),
    "key turned twice": (17, f"{TURNED_TWICE} {PLAIN} {TAIL}"),
    "sliced stack": (12, f"{SLICED} {PLAIN.replace('MatMul(q', 'MatMul(m')} {TAIL}"),
    "gathered stack": (17, f"{GATHERED} {PLAIN} {TAIL}"),
    "split stack": (12, f"{SPLIT} {PLAIN} {TAIL}"),
    "split columns": (12, f"{COLUMNS} {PLAIN} {TAIL}"),
}
UNUSUAL, UNCUT = "the heads are not transposed as usual", "the heads are not made by a Reshape of known sizes"
MASKS = [f"1, 1, 1, {S}", f"2, 1, 1, {S}", f"2, {H}, {S}, {S}", f"{S}, {S}", f"2, 1, {S}, {S}", "1"]


def net(
    lines: str,
    opset: int = 17,
    *,
    batch: str = "2",
    mask: str | None = None,
    more: str = "",
    changes: dict[str, Array] | None = None,
) -> ir.Model:
    """An attention, shapes inferred; constants that the lines do not use are left out."""
    masked = f", float[{mask}] mask" if mask else ""
    rows = f"float[{batch}, {S}, {D}]"
    return inferred(
        model(f"g ({rows} x{masked}) => ({rows} y{more}) {{ {lines} }}", opset, **used(lines, **(changes or {})))
    )


def used(lines: str, **changes: Array) -> dict[str, Array]:
    words = set(re.findall(r"\w+", lines))
    return {name: array for name, array in {**NUMBERS, **changes}.items() if name in words}


def inferred(found: ir.Model) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), strict_mode=True))


def fuse(found: ir.Model) -> PassResult:
    result = FuseAttention()(found)
    check(found)
    assert not FuseAttention()(found).modified
    return result


def feeds(found: ir.Model, n: int = 2) -> dict[str, Array]:
    shapes = {
        v.name: [d if isinstance(d, int) else n for d in v.shape] for v in found.graph.inputs if v.shape is not None
    }
    return {str(name): random(*shape, seed=7 + i) for i, (name, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize(("opset", "lines"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("mask", MASKS)
def test_every_spelling(opset: int, lines: str, mask: str) -> None:
    found = net(lines, opset, mask=mask if "mask" in lines else None)
    inputs = feeds(found)
    wanted = run(found, inputs)
    assert fuse(found).counts == {"fused": 1}
    assert set(op_types(found)) <= {"Attention", "Expand"}
    assert found.opset_imports["com.microsoft"] == 1
    assert_close(wanted, run(found, inputs))
    assert_close(wanted, run(found, inputs, optimize=True))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("MatMul(x, wk)", "MatMul(e, wk)", "query, key and value are not made of one tensor"),
        ("v = Transpose<perm = [0, 2, 1, 3]>(v2)", "v3 = Transpose<perm = [0, 2, 1, 3]>(v2) v = Relu(v3)", UNUSUAL),
        ("v = Transpose<perm = [0, 2, 1, 3]>(v2)", "v3 = Relu(v2) v = Transpose<perm = [0, 2, 1, 3]>(v3)", UNCUT),
        (
            "Transpose<perm = [0, 2, 1, 3]>(o0)",
            "Transpose<perm = [0, 2, 3, 1]>(o0)",
            "the heads are not joined as usual",
        ),
        ("MatMul(x, wv)", "MatMul(x, x2)", "not the product with a constant matrix"),
        ("Add(v0, bv)", "Add(v0, x)", "not the product with a constant matrix"),
        ("Softmax<axis = -1>", "Softmax<axis = 2>", "the Softmax is not over the last dimension"),
    ],
)
def test_near_misses(old: str, new: str, reason: str) -> None:
    lines = (
        "e = Relu(x) x1 = ReduceSum<keepdims = 0>(x, i0) x2 = MatMul(turned, x1) " if "x2" in new else "e = Relu(x) "
    )
    lines += FORMS["usual"][1]
    assert old in lines
    found = net(lines.replace(old, new), mask=f"1, 1, 1, {S}", changes={"turned": random(D, S)})
    result = fuse(found)
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


@pytest.mark.parametrize("name", ["root", "half"])
@pytest.mark.parametrize("factor", [1e-20, 1e20])
def test_unusual_factors(name: str, factor: float) -> None:
    lines = FORMS["usual" if name == "root" else "scaled query"][1]
    found = net(lines, mask="1" if name == "root" else None, changes={name: np.array(factor, np.float32)})
    reason = "a factor is so large or small that the range of numbers changes"
    assert [skip.reason for skip in fuse(found).skips] == [reason]


def test_other_softmaxes_are_no_candidates() -> None:
    found = model("g (float[2, 3] x) => (float[2, 3] y) { y = Softmax(x) }")
    assert not fuse(found).skips


@pytest.mark.parametrize(("value", "is_output"), [("v1", True), ("v1", False), ("s0", False)])
def test_a_value_inside_that_is_read_elsewhere(value: str, is_output: bool) -> None:
    text = FORMS["usual"][1] + ("" if is_output else f" z = Relu({value})")
    found = net(text, mask="1", more=f", float{SHAPES[value]} {value if is_output else 'z'}")
    reason = "an intermediate value is a graph output" if is_output else "something else reads an intermediate value"
    assert [skip.reason for skip in fuse(found).skips] == [reason]


def test_probabilities_that_are_read_elsewhere() -> None:
    assert not fuse(net(FORMS["usual"][1] + " z = Relu(p)", mask="1", more=f", float{SHAPES['s0']} z")).modified


def test_the_result_is_read_twice_and_is_an_output() -> None:
    found = net(FORMS["usual"][1] + " z = Relu(y)", mask="1", more=f", float{SHAPES['v1']} z")
    inputs = feeds(found)
    wanted = run(found, inputs)
    assert fuse(found).modified
    assert [v.name for v in found.graph.outputs] == ["y", "z"]
    assert_close(wanted, run(found, inputs))


def test_a_shared_weight_stays_for_its_other_reader() -> None:
    found = net(FORMS["usual"][1] + " z = MatMul(x, wk)", mask="1", more=f", float{SHAPES['v1']} z")
    assert fuse(found).modified
    assert "wk" in found.graph.initializers and "wq" not in found.graph.initializers


def test_a_dynamic_batch() -> None:
    found = net(FORMS["no mask, no scale"][1], batch="N")
    inputs = feeds(found)
    wanted = run(found, inputs)
    assert fuse(found).modified
    assert_close(wanted, run(found, inputs))


def test_a_mask_of_unknown_batch_must_not_be_copied() -> None:
    found = net(FORMS["usual"][1], batch="N", mask=f"N, 1, 1, {S}")
    assert [skip.reason for skip in fuse(found).skips] == ["the mask would have to be copied to an unknown length"]


def test_double_is_left_alone() -> None:
    lines = FORMS["no mask, no scale"][1]
    constants = {k: a.astype(np.float64) if a.dtype == np.float32 else a for k, a in NUMBERS.items()}
    weights = {name: constants[name] for name in used(lines)}
    found = model(f"g (double[2, {S}, {D}] x) => (double[2, {S}, {D}] y) {{ {lines} }}", **weights)
    found = inferred(found)
    assert [skip.reason for skip in fuse(found).skips] == ["not float32"]


def test_inside_a_subgraph() -> None:
    lines = FORMS["no mask, no scale"][1].replace("y = Reshape", "z = Reshape")
    found = model(
        f"""g (bool c, float[2, {S}, {D}] x) => (float[2, {S}, {D}] y) {{
            y = If (c) <
                then_branch = t () => (float[2, {S}, {D}] z) {{ {lines} }},
                else_branch = f () => (float[2, {S}, {D}] a) {{ a = Relu(x) }}
            >
        }}""",
        **used(lines),
    )
    shapes = {v.name: (v.shape, v.type) for n in net(FORMS["no mask, no scale"][1]).graph for v in n.outputs}
    for node in nodes(found):
        for value in node.outputs:  # inference does not look at constants outside
            if value.name in shapes:
                value.shape, value.type = shapes[value.name]
    inputs = {"c": np.array(True), "x": random(2, S, D)}
    wanted = run(found, inputs)
    assert fuse(found).modified
    assert_close(wanted, run(found, inputs))


def test_two_layers_share_an_expanded_mask() -> None:
    first = FORMS["usual"][1].replace("y = Reshape", "h = Reshape")
    second = FORMS["usual"][1].replace("(x,", "(h,")
    for name in [f"{c}{i}" for c in "qkvso" for i in range(3)] + ["q", "k", "v", "s", "p"]:
        for before in "( ":
            for behind in ",) ":
                second = second.replace(f"{before}{name}{behind}", f"{before}{name}_2{behind}")
    found = net(first + " " + second.replace("q0 =", "q0_2 =", 1), mask=f"1, 1, 1, {S}")
    inputs = feeds(found)
    wanted = run(found, inputs)
    assert fuse(found).counts == {"fused": 2}
    assert op_types(found).count("Expand") == 1
    assert_close(wanted, run(found, inputs))


@pytest.mark.parametrize("amount", [0.0, -1e4, -1e9, float(np.finfo(np.float32).min), -np.inf, np.nan])
@pytest.mark.parametrize("hidden", [1, S])
def test_masks_of_every_kind(amount: float, hidden: int) -> None:
    found = net(FORMS["usual"][1], mask=f"1, 1, 1, {S}")
    inputs = feeds(found)
    inputs["mask"] = np.zeros((1, 1, 1, S), np.float32)
    inputs["mask"][..., S - hidden :] = amount
    wanted = run(found, inputs)[0]
    fuse(found)
    got = run(found, inputs)[0]
    assert np.array_equal(np.isnan(wanted), np.isnan(got))
    rows = hidden == S and amount in (-1e4, -1e9)
    np.testing.assert_allclose(got, wanted, rtol=2e-3 if rows else 2e-6, atol=3e-3 if rows else 2e-6)


def test_it_keeps_its_contract() -> None:
    found = net(FORMS["usual"][1], mask=f"1, 1, 1, {S}")
    shapes: dict[str, tuple[int | str, ...]] = {"x": (2, S, D), "mask": (1, 1, 1, S)}
    spec = InputSpec(tuple(TensorSpec(n, np.dtype(np.float32), shape) for n, shape in shapes.items()), {})
    verifier = Verifier(load_unoptimized, found.clone(), [feeds(found)], adversarial_feeds(spec, 0))
    assert fuse(found).modified
    verdict = verifier.check(found, Contract.CLOSE)
    assert verdict.ok, verdict
