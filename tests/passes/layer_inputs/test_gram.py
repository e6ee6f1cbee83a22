from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.analysis.integer_products import conv_matrices
from tamis.compiler.errors import DataError
from tamis.passes.layer_inputs.gram import Layer, collect_grams
from tamis.passes.layer_inputs.layer_rows import layer_rows
from tests.models import Array, model, random, run


def layer(found: ir.Model, op_type: str, shape: tuple[int, ...]) -> Layer:
    node = next(n for n in found.graph if n.op_type == op_type)
    node.name = node.name or "layer"
    return Layer(node, shape)


@pytest.mark.parametrize(
    ("attributes", "shape", "spatial"),
    [
        ("pads=[1, 1, 1, 1]", (6, 4, 3, 3), (7, 8)),
        ("strides=[2, 1], pads=[0, 1, 2, 0], group=2", (6, 2, 3, 2), (7, 8)),
        ("dilations=[2, 2], group=4", (8, 1, 3, 3), (7, 8)),
        ('auto_pad="SAME_UPPER", strides=[2, 2]', (3, 4, 3, 4), (7, 8)),
        ('auto_pad="SAME_LOWER", strides=[2, 2]', (3, 4, 4, 2), (7, 8)),
        ('auto_pad="VALID"', (3, 4, 2, 2), (7, 8)),
        ("pads=[2, 1], strides=[3]", (3, 4, 5), (11,)),
    ],
)
def test_rows_give_the_convolution(attributes: str, shape: tuple[int, ...], spatial: tuple[int, ...]) -> None:
    sizes = ", ".join(str(s) for s in (2, 4, *spatial))
    outputs = ", ".join("ABCDE"[: len(spatial)])
    text = f"g (float[{sizes}] x) => (float[2, {shape[0]}, {outputs}] y) {{ y = Conv<{attributes}>(x, w) }}"
    weight, x = random(*shape), random(2, 4, *spatial, seed=1)
    found = model(text, w=weight)
    node = next(iter(found.graph))
    (y,) = run(found, {"x": x})
    rows = layer_rows(node, x, shape, 10**6, np.random.default_rng(0))
    group = node.attributes.get_int("group", 1)
    got = np.matmul(rows, conv_matrices(weight, group))
    wanted = np.moveaxis(y, 1, -1).reshape(-1, group, shape[0] // group).transpose(1, 0, 2)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    few = layer_rows(node, x, shape, 5, np.random.default_rng(0))
    assert few.shape == (group, 5, rows.shape[2])


CONV = "g (float[1, 4, 6, 6] x) => (float[1, 3, 6, 6] y) { r = Relu(x) y = Conv<pads=[1, 1, 1, 1]>(r, w) }"
MATMUL = "g (float[N, 5] x) => (float[N, 3] y) { r = Relu(x) y = MatMul(r, w) }"


@pytest.mark.parametrize(("text", "shape", "op_type"), [(CONV, (3, 4, 3, 3), "Conv"), (MATMUL, (5, 3), "MatMul")])
def test_gram_of_all_samples(text: str, shape: tuple[int, ...], op_type: str) -> None:
    found = model(text, w=random(*shape))
    target = layer(found, op_type, shape)
    samples = [{"x": random(*((1, 4, 6, 6) if op_type == "Conv" else (7, 5)), seed=i)} for i in range(3)]
    ((_, gram),) = collect_grams(found, [target], lambda: samples, positions=1000)
    rows = np.concatenate(
        [layer_rows(target.node, np.maximum(s["x"], 0), shape, 1000, np.random.default_rng(0))[0] for s in samples]
    )
    assert gram.rows == len(rows)
    np.testing.assert_allclose(gram.g[0], rows.T @ rows, rtol=1e-4)
    np.testing.assert_allclose(gram.mean[0], rows.mean(axis=0), rtol=1e-5)
    assert gram.c is None


def test_cross_moments_with_a_quantized_model() -> None:
    weight = random(5, 3)
    found, other = model(MATMUL, w=weight), model(MATMUL.replace("r = Relu(x)", "a = Relu(x) r = Add(a, a)"), w=weight)
    target = layer(found, "MatMul", (5, 3))
    layer(other, "MatMul", (5, 3))
    samples = [{"x": random(300, 5, seed=i)} for i in range(2)]
    ((_, gram),) = collect_grams(found, [target], lambda: samples, quantized=other, positions=16)
    assert gram.rows == 32
    assert gram.c is not None
    np.testing.assert_allclose(2 * gram.c, gram.g, rtol=1e-5)


def test_memory_is_bounded(monkeypatch: Any) -> None:
    text = """g (float[N, 5] x) => (float[N, 5] y) { a = MatMul(x, w) b = MatMul(a, w) y = MatMul(b, w) }"""
    found = model(text, w=np.eye(5, dtype=np.float32))
    layers = []
    for number, node in enumerate(found.graph):
        node.name = f"layer{number}"
        layers.append(Layer(node, (5, 5)))
    calls = []

    def samples() -> list[dict[str, Array]]:
        calls.append(1)
        return [{"x": random(9, 5)}]

    apart = list(collect_grams(found, layers, samples, memory=150))
    runs = len(calls)
    together = list(collect_grams(found, layers, samples))
    assert runs > len(calls) - runs
    assert [a[0].node.name for a in apart] == ["layer0", "layer1", "layer2"]
    for (_, a), (_, b) in zip(apart, together, strict=True):
        np.testing.assert_allclose(a.g, b.g, rtol=1e-6)


def test_no_samples() -> None:
    found = model(MATMUL, w=random(5, 3))
    with pytest.raises(DataError):
        list(collect_grams(found, [layer(found, "MatMul", (5, 3))], list))


def test_samples_held_out() -> None:
    found = model(MATMUL, w=random(5, 3))
    target = layer(found, "MatMul", (5, 3))
    samples = [{"x": random(7, 5, seed=i)} for i in range(5)]
    ((_, gram),) = collect_grams(found, [target], lambda: samples, hold_out=2)
    rows = [np.maximum(s["x"], 0) for s in samples]
    assert gram.held is not None
    np.testing.assert_allclose(gram.held[0], sum(r.T @ r for r in rows[1::2]), rtol=1e-4)
    np.testing.assert_allclose(gram.g[0], sum(r.T @ r for r in rows[0::2]), rtol=1e-4)
    assert gram.rows == 21
