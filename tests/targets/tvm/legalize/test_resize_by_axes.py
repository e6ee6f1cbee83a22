from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.resize_by_axes import ResizeByAxes
from tests.models import Array, assert_close, check, model, op_types, random, run, same_bits

F = np.float32
COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
FRACTIONAL = [(1.5, 1.7), (0.6, 0.6), (0.3, 2.1), (2.0, 1.3)]


def resize(found: ir.Model) -> PassResult:
    result = ResizeByAxes()(found)
    check(found)
    assert not ResizeByAxes()(found).modified
    return result


def assert_resized(found: ir.Model, x: Array, *, exact: bool = False) -> None:
    wanted = run(found, {"x": x})
    assert resize(found).counts == {"simplified": 1}
    assert not {"Resize", "Upsample"} & set(op_types(found))
    got = run(found, {"x": x})
    if exact:
        assert same_bits(wanted, got)
    else:
        assert_close(wanted, got)


def net(attributes: str, shape: tuple[int, ...], opset: int = 18, kind: str = "float", **inputs: Any) -> ir.Model:
    out = ", ".join("abcde"[: len(shape)])
    given = ", s" if "s" in inputs else ", , n"
    text = f"g ({kind}[{', '.join(map(str, shape))}] x) => ({kind}[{out}] y) {{ y = Resize<{attributes}>(x, {given}) }}"
    return model(text, opset, **inputs)


@pytest.mark.parametrize("scales", FRACTIONAL)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(rounding: str, coordinates: str, scales: tuple[float, float]) -> None:
    attributes = f'mode = "nearest", nearest_mode = "{rounding}", coordinate_transformation_mode = "{coordinates}"'
    assert_resized(net(attributes, (1, 2, 11, 7), s=np.array([1, 1, *scales], F)), random(1, 2, 11, 7), exact=True)


@pytest.mark.parametrize("scales", FRACTIONAL)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize(
    "mode", ['"linear"', '"cubic"', '"cubic", exclude_outside = 1', '"cubic", cubic_coeff_a = -0.5']
)
def test_weights(mode: str, coordinates: str, scales: tuple[float, float]) -> None:
    attributes = f'mode = {mode}, coordinate_transformation_mode = "{coordinates}"'
    assert_resized(net(attributes, (1, 2, 11, 7), s=np.array([1, 1, *scales], F)), random(1, 2, 11, 7))


def test_symmetric_coordinates() -> None:
    attributes = 'mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"'
    assert_resized(net(attributes, (1, 2, 11, 7), 19, s=np.array([1, 1, 2.3, 1.7], F)), random(1, 2, 11, 7))


def test_integers() -> None:
    x = np.arange(1 * 1 * 5 * 7, dtype=np.uint8).reshape(1, 1, 5, 7)
    assert_resized(net('mode = "nearest"', (1, 1, 5, 7), kind="uint8", s=np.array([1, 1, 1.3, 1.7], F)), x, exact=True)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio(policy: str) -> None:
    attributes = f'mode = "linear", axes = [2, 3], keep_aspect_ratio_policy = "{policy}"'
    assert_resized(net(attributes, (1, 2, 11, 7), n=np.array([17, 20])), random(1, 2, 11, 7))


def test_axes_that_come_first() -> None:
    assert_resized(net('mode = "nearest"', (2, 3, 4, 5), s=np.array([1.5, 2, 1, 1], F)), random(2, 3, 4, 5), exact=True)
    assert_resized(net('mode = "linear"', (4, 5), n=np.array([7, 3])), random(4, 5))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(2.0, 3.0), (1.6, 1.3)])
@pytest.mark.parametrize("opset", [8, 9, 10])
def test_old_operator_sets(opset: int, scales: tuple[float, float], mode: str) -> None:
    name = "Resize" if opset == 10 else "Upsample"
    s = np.array([1, 1, *scales], F)
    listed = f", scales = [1.0, 1.0, {scales[0]}, {scales[1]}]" if opset < 9 else ""
    call = f'{name}<mode = "{mode}"{listed}>(x{"" if opset < 9 else ", s"})'
    used = {} if opset < 9 else {"s": s}
    found = model(f"g (float[1, 2, 5, 7] x) => (float[a, b, c, d] y) {{ y = {call} }}", opset, **used)
    assert_resized(found, random(1, 2, 5, 7), exact=mode == "nearest")


def test_scales_below_one_in_old_operator_sets() -> None:
    found = model(
        "g (float[1, 2, 5, 7] x) => (float[a, b, c, d] y) { y = Resize(x, s) }", 10, s=np.array([1, 1, 0.6, 0.5], F)
    )
    assert_resized(found, random(1, 2, 5, 7), exact=True)


@pytest.mark.parametrize("inputs", [{"s": np.array([1, 1, 2, 3], F)}, {"n": np.array([1, 2, 7, 20])}])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_what_is_imported_right_is_left_alone(mode: str, inputs: dict[str, Any]) -> None:
    result = resize(net(f'mode = "{mode}"', (1, 2, 5, 7), **inputs))
    assert not result.modified and not result.skips


def dynamic() -> ir.Model:
    found = net('mode = "nearest"', (1, 2, 5, 7), s=np.array([1, 1, 1.5, 1.5], F))
    found.graph.inputs[0].shape = ir.Shape([1, 2, "H", 7])
    return found


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (dynamic(), "sizes that are not known"),
        (net('mode = "linear", antialias = 1', (1, 2, 5, 7), s=np.array([1, 1, 0.5, 0.5], F)), "antialias"),
        (net('mode = "linear"', (1, 2, 5, 7), kind="float16", s=np.array([1, 1, 1.3, 1.3], F)), "linear and cubic of element types other than float32"),
    ],
)  # fmt: skip
def test_what_is_left_alone(found: ir.Model, reason: str) -> None:
    result = ResizeByAxes()(found)
    assert not result.modified and [skip.reason for skip in result.skips] == [reason]


def test_scales_that_are_not_constant() -> None:
    text = "g (float[1, 2, 5, 7] x, float[4] s) => (float[a, b, c, d] y) { y = Resize(x, , s) }"
    assert [s.reason for s in ResizeByAxes()(model(text, 18)).skips] == ["neither scales nor sizes are constant"]
