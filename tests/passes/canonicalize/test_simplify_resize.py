from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.canonicalize.resize_maps import COORDINATES, ROUNDINGS
from tamis.passes.canonicalize.simplify_resize import SimplifyResize
from tests.models import Array, check, model, nodes, op_types, random, run, same_bits


def simplify(found: ir.Model) -> PassResult:
    infer_shapes(found)
    result = SimplifyResize()(found)
    check(found)
    assert not SimplifyResize()(found).modified
    return result


def floats(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def net(
    attributes: str,
    shape: str = "1, 3, 4, 5",
    opset: int = 13,
    *,
    scales: Array | None = None,
    sizes: Array | None = None,
    dtype: str = "float",
) -> ir.Model:
    """A Resize between two other nodes."""
    given = {"roi": floats(), "scales": floats() if scales is None else scales}
    inputs = "a, roi, scales"
    if sizes is not None:
        given, inputs = {"sizes": sizes}, 'a, "", "", sizes'
        if opset < 13:
            given, inputs = {"roi": floats(), "none": floats(), "sizes": sizes}, "a, roi, none, sizes"
    text = f"g ({dtype}[{shape}] x) => ({dtype}[A, B, C, D] y) {{ a = Neg(x) b = Resize<{attributes}>({inputs}) y = Neg(b) }}"
    return model(text, opset, **given)


def resize(found: ir.Model) -> ir.Node:
    (node,) = (node for node in nodes(found) if node.op_type == "Resize")
    return node


def form(found: ir.Model) -> tuple[str, str]:
    attributes = resize(found).attributes
    return attributes.get_string("coordinate_transformation_mode", "-"), attributes.get_string("nearest_mode", "-")


def nearest(coordinates: str, rounding: str) -> str:
    return f'mode = "nearest", coordinate_transformation_mode = "{coordinates}", nearest_mode = "{rounding}"'


def same_as_before(found: ir.Model, *shapes: tuple[int, ...]) -> PassResult:
    feeds = [{"x": random(*shape).astype(found.graph.inputs[0].dtype.numpy())} for shape in shapes]  # type: ignore[union-attr]
    wanted = [run(found, f) for f in feeds]
    result = simplify(found)
    for f, want in zip(feeds, wanted, strict=True):
        assert same_bits(want, run(found, f))
    return result


@pytest.mark.parametrize("coordinates", [c for c in COORDINATES if c != "half_pixel_symmetric"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nearest_forms_that_are_the_same(coordinates: str, rounding: str) -> None:
    opset = 11 if coordinates == "tf_half_pixel_for_nn" else 13
    for factor, shape in product((2, 3, 4, 7), ("1, 3, 4, 5", "N, 3, H, W", "1, 1, 1, 2")):
        sizes = {"N": 2, "H": 9, "W": 6}
        feed = tuple(sizes.get(s) or int(s) for s in shape.split(", "))
        found = net(nearest(coordinates, rounding), shape, opset, scales=floats(1, 1, factor, factor))
        rows = run(found, {"x": np.arange(np.prod(feed)).reshape(feed).astype(np.float32)})[0]
        repeated = np.arange(np.prod(feed)).reshape(feed).repeat(factor, 2).repeat(factor, 3).astype(np.float32)
        modified = same_as_before(found, feed).modified
        assert not modified or np.array_equal(rows, repeated)
        assert (
            modified
            or not np.array_equal(rows, repeated)
            or coordinates == "align_corners"
            or form(found) == ("asymmetric", "floor")
        )
        assert not modified or form(found) == ("asymmetric", "floor")


@pytest.mark.parametrize(
    ("coordinates", "rounding", "factor", "same"),
    [
        ("half_pixel", "round_prefer_floor", 2, True),
        ("half_pixel", "round_prefer_ceil", 8, True),
        ("half_pixel", "floor", 2, False),
        ("pytorch_half_pixel", "round_prefer_floor", 3, True),
        ("asymmetric", "round_prefer_floor", 2, True),
        ("asymmetric", "round_prefer_floor", 3, False),
        ("asymmetric", "ceil", 2, False),
        ("tf_half_pixel_for_nn", "floor", 4, True),
        ("align_corners", "round_prefer_floor", 2, False),
    ],
)
def test_which_forms_are_the_same(coordinates: str, rounding: str, factor: int, same: bool) -> None:
    found = net(nearest(coordinates, rounding), "N, C, H, W", 11, scales=floats(1, 1, factor, factor))
    result = same_as_before(found, (1, 2, 9, 7), (2, 1, 1, 1))
    assert result.modified == same
    reason = "nearest elements are others than those of asymmetric with floor"
    assert [skip.reason for skip in result.skips] == ([] if same else [reason])


def test_defaults() -> None:
    found = net('mode = "nearest"', "N, 3, H, W", scales=floats(1, 1, 2, 3))
    assert same_as_before(found, (1, 3, 4, 5)).modified
    assert form(found) == ("asymmetric", "floor")


def test_symmetric_is_half_pixel_for_whole_factors() -> None:
    for mode in ("nearest", "linear"):
        attributes = f'mode = "{mode}", coordinate_transformation_mode = "half_pixel_symmetric"'
        found = net(attributes, "N, 3, H, W", 19, scales=floats(1, 1, 2, 2))
        assert same_as_before(found, (1, 3, 4, 5), (1, 3, 1, 2)).modified


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_linear_pytorch_half_pixel(factor: int) -> None:
    attributes = 'mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"'
    found = net(attributes, "N, 3, H, W", scales=floats(1, 1, factor, factor))
    assert same_as_before(found, (1, 3, 4, 5), (1, 3, 1, 1), (2, 3, 1, 6)).modified
    assert form(found)[0] == "half_pixel"


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_linear_forms_that_stay(coordinates: str) -> None:
    attributes = f'mode = "linear", coordinate_transformation_mode = "{coordinates}"'
    assert not simplify(net(attributes, scales=floats(1, 1, 2, 2))).modified


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [11, 13, 18, 19])
def test_sizes_become_scales(mode: str, opset: int) -> None:
    found = net(f'mode = "{mode}"', opset=opset, sizes=ints(1, 3, 12, 10))
    assert same_as_before(found, (1, 3, 4, 5)).modified
    inputs = resize(found).inputs
    assert len(inputs) == 3 and inputs[2] is not None and inputs[2].const_value is not None
    assert inputs[2].const_value.numpy().tolist() == [1, 1, 3, 2]
    assert not {"sizes", "none"} & set(found.graph.initializers)


@pytest.mark.parametrize("sizes", [ints(12, 10), None])
def test_some_axes_become_all(sizes: Array | None) -> None:
    found = net('mode = "linear", axes = [-2, 3]', "N, C, 4, 5", 18, sizes=sizes, scales=floats(3, 2))
    assert same_as_before(found, (2, 3, 4, 5)).modified
    inputs = resize(found).inputs
    assert inputs[2] is not None and inputs[2].const_value is not None
    assert inputs[2].const_value.numpy().tolist() == [1, 1, 3, 2]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("sizes", [ints(1, 3, 4, 5), None])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
def test_resizing_nothing(mode: str, sizes: Array | None, coordinates: str) -> None:
    found = net(
        f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}"', sizes=sizes, scales=floats(1, 1, 1, 1)
    )
    x = random(1, 3, 4, 5)
    x[0, 0, 0, :4] = np.nan, np.inf, -np.inf, -0.0
    wanted = run(found, {"x": x})
    assert simplify(found).modified
    assert op_types(found) == ["Neg", "Neg"] and not found.graph.initializers
    assert same_bits(wanted, run(found, {"x": x}))


@pytest.mark.parametrize(("opset", "attributes"), [(7, "scales = [1.0, 1.0, 1.0, 1.0]"), (9, "")])
def test_upsample(opset: int, attributes: str) -> None:
    inputs, given = ("a", {}) if opset < 9 else ("a, s", {"s": floats(1, 1, 1, 1)})
    text = f"g (float[N, 3, H, W] x) => (float[A, B, C, D] y) {{ a = Neg(x) b = Upsample<{attributes}>({inputs}) y = Neg(b) }}"
    found = model(text.replace("<>", ""), opset, **given)
    assert same_as_before(found, (1, 3, 4, 5)).modified
    assert op_types(found) == ["Neg", "Neg"]


def test_resize_without_coordinates() -> None:
    for factor in (1, 2):
        text = "g (float[N, 3, H, W] x) => (float[A, B, C, D] y) { a = Neg(x) b = Resize(a, s) y = Neg(b) }"
        found = model(text, 10, s=floats(1, 1, factor, factor))
        assert same_as_before(found, (1, 3, 4, 5)).modified == (factor == 1)


NEAR = [
    (net('mode = "nearest"', scales=floats(1, 1, 1.5, 2)), "a factor is not whole"),
    (net('mode = "nearest"', scales=floats(1, 1, 0.5, 0.5)), "a factor is not whole"),
    (net('mode = "nearest"', sizes=ints(1, 3, 6, 10)), "a factor is not whole"),
    (
        net('mode = "nearest"', "N, 3, H, W", sizes=ints(1, 3, 8, 10)),
        "scales or sizes are not constant, or sizes of the input not known",
    ),
    (
        net('mode = "nearest", coordinate_transformation_mode = "tf_crop_and_resize"', scales=floats(1, 1, 2, 2)),
        "a region of interest",
    ),
    (net('mode = "linear", antialias = 1', opset=18, scales=floats(1, 1, 2, 2)), "antialiasing"),
    (
        net('mode = "linear", keep_aspect_ratio_policy = "not_larger"', opset=18, sizes=ints(1, 3, 8, 10)),
        "the aspect ratio is kept",
    ),
    (
        net(nearest("tf_half_pixel_for_nn", "ceil"), opset=11, scales=floats(1, 1, 1, 1)),
        "nearest elements are others than those of asymmetric with floor",
    ),
]


@pytest.mark.parametrize(("found", "reason"), NEAR, ids=[reason for _, reason in NEAR])
def test_near_misses(found: ir.Model, reason: str) -> None:
    result = simplify(found)
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


def test_linear_that_shifts_without_resizing_stays() -> None:
    attributes = 'mode = "linear", coordinate_transformation_mode = "tf_half_pixel_for_nn"'
    found = net(attributes, opset=11, scales=floats(1, 1, 1, 1))
    assert not simplify(found).modified


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8"])
def test_other_types(dtype: str) -> None:
    text = f'g ({dtype}[1, 2, 3, 4] x) => ({dtype}[A, B, C, D] y) {{ a = Max(x, x) y = Resize<mode = "nearest">(a, "", s) }}'
    found = model(text, 13, s=floats(1, 1, 2, 2))
    x = np.arange(24).reshape(1, 2, 3, 4).astype(dtype)
    if dtype == "float16":  # ONNX Runtime has no kernel: the form is the same, nothing can be run
        assert simplify(found).modified
        return
    wanted = run(found, {"x": x})
    assert simplify(found).modified
    assert same_bits(wanted, run(found, {"x": x}))


def test_scales_that_others_read_stay() -> None:
    text = """g (float[1, 3, 4, 5] x) => (float[A, B, C, D] y, float[4] z) {
        y = Resize<mode = "nearest">(x, "", "", s) f = Cast<to = 1>(s) z = Neg(f)
    }"""
    found = model(text, 13, s=ints(1, 3, 8, 10))
    assert same_as_before(found, (1, 3, 4, 5)).modified
    assert "s" in found.graph.initializers


def test_a_graph_output_and_input_on_the_edge() -> None:
    text = 'g (float[1, 3, 4, 5] x) => (float[A, B, C, D] y) { y = Resize(x, "", s) }'
    found = model(text, 13, s=floats(1, 1, 1, 1))
    assert same_as_before(found, (1, 3, 4, 5)).modified
    assert op_types(found) == ["Identity"] and found.graph.outputs[0].name == "y"


def test_inside_a_subgraph() -> None:
    text = """g (bool c, float[1, 3, 4, 5] x) => (float[A, B, C, D] y) {
        y = If (c) <
            then_branch = t () => (float[A, B, C, D] a) { a = Resize<mode = "nearest">(x, "", s) },
            else_branch = f () => (float[A, B, C, D] b) { b = Neg(x) }
        >
    }"""
    found = model(text, 13, s=floats(1, 1, 2, 2))
    feeds = {"c": np.array(True), "x": random(1, 3, 4, 5)}
    wanted = run(found, feeds)
    assert simplify(found).modified
    assert form(found) == ("asymmetric", "floor")
    assert same_bits(wanted, run(found, feeds))
