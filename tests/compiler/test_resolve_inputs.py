"""Where the shape of an input comes from: graph, recipe, sample, or an error that says what to give."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.adversarial import adversarial_feeds, random_feeds
from tamis.compiler.errors import ModelError, RecipeError
from tamis.compiler.recipe import InputSection
from tamis.compiler.resolve_inputs import resolve_inputs
from tests.models import model, random

IMAGE = "g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu(x) }"


def section(**keys: object) -> InputSection:
    return InputSection.model_validate(keys)


def test_the_recipe_fixes_the_shape() -> None:
    spec = resolve_inputs(model(IMAGE), {"x": section(shape=[1, 3, 8, 16])}, None)
    assert spec.tensors[0].shape == (1, 3, 8, 16)
    assert spec.static


def test_a_named_dimension_stays_dynamic_in_its_range() -> None:
    spec = resolve_inputs(model(IMAGE), {"x": section(shape=["N", 3, 8, 16], N=[1, 4])}, None)
    assert spec.tensors[0].shape == ("N", 3, 8, 16)
    assert [s["x"] for s in spec.corner_shapes()] == [(1, 3, 8, 16), (4, 3, 8, 16)]


def test_a_sample_fills_the_gaps_and_the_batch_is_one() -> None:
    sample = {"x": random(2, 3, 5, 7)}
    assert resolve_inputs(model(IMAGE), {}, sample).tensors[0].shape == (2, 3, 5, 7)
    text = "g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"
    assert resolve_inputs(model(text), {}, None).tensors[0].shape == (1, 3)


def test_a_size_that_nobody_gives() -> None:
    with pytest.raises(RecipeError, match=r"size of dimension 2 is not known.*inputs.x.shape"):
        resolve_inputs(model(IMAGE), {}, None)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("X", [1, 3, 8, 8], r"no input 'X' \(did you mean 'x'\?\)"),
        ("x", [1, 3, 8], "number of dimensions"),
        ("x", [1, 4, 8, 8], "another size than the graph's; expected 3, found 4"),
    ],
)
def test_a_recipe_that_does_not_fit(name: str, shape: list[int], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        resolve_inputs(model(IMAGE), {name: section(shape=shape)}, None)


def test_indices_are_bounded_by_the_table() -> None:
    text = "g (int64[1, T] i) => (float[1, T, 4] y) { j = Cast<to = 6>(i) y = Gather(E, j) }"
    (tensor,) = resolve_inputs(model(text, E=random(30, 4)), {"i": section(shape=[1, 5])}, None).tensors
    assert tensor.bounds == (0, 29)


def test_optional_inputs_are_left_out() -> None:
    made = model("g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", w=random(2))
    assert [t.name for t in resolve_inputs(made, {}, None).tensors] == ["x"]


def test_an_input_that_is_no_tensor() -> None:
    text = "g (seq(float[2]) s) => (float[2] y) { y = ConcatFromSequence<axis = 0>(s) }"
    made = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    with pytest.raises(ModelError, match="not a tensor"):
        resolve_inputs(made, {}, None)


def test_adversarial_inputs_fit_the_specification() -> None:
    text = "g (int64[B, 3] i, float[B, 2] x) => (float[B, 3, 4] y, float[B, 2] z) { y = Gather(E, i) z = Neg(x) }"
    sections = {"i": section(shape=["B", 3], B=[1, 3]), "x": section(shape=["B", 2], range=[-1, 2])}
    spec = resolve_inputs(model(text, E=random(30, 4)), sections, None)
    cases = dict(adversarial_feeds(spec, 0))
    assert {"zeros@B=1", "zeros@B=3", "denormal@B=1", "large@B=3"} <= set(cases)
    for feeds in [*cases.values(), *random_feeds(spec, 0, 4)]:
        assert feeds["i"].dtype == np.int64
        assert 0 <= feeds["i"].min() <= feeds["i"].max() <= 29
        assert -1 <= feeds["x"].min() <= feeds["x"].max() <= 2
        assert feeds["i"].shape[0] == feeds["x"].shape[0] in (1, 3)
    tiny = cases["denormal@B=3"]["x"]
    assert 0 < np.abs(tiny).max() < np.finfo(np.float32).tiny
    again = dict(adversarial_feeds(spec, 0))
    assert all(np.array_equal(again[k][n], cases[k][n]) for k in cases for n in cases[k])
