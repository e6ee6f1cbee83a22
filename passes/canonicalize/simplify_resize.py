"""Write Resizes by whole factors in one form, and take out those that resize nothing.

::

    Resize<nearest, half_pixel, ...>(x, scales 2)    ->  Resize<nearest, asymmetric, floor>(x, scales 2)
    Resize<linear, pytorch_half_pixel>(x, scales 2)  ->  Resize<linear, half_pixel>(x, scales 2)
    Resize(x, sizes [1, C, 2 H, 2 W])                ->  Resize(x, scales [1, 1, 2, 2])
    Resize(x, scales [1, 1, 1, 1])                   ->  x

*Refuses*: nearest forms whose map of output to input elements is another one than that of the new form, computed element by
element; factors that are not whole; sizes where the input's are not known; other policies than stretching; antialiasing;
regions of interest.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.passes.canonicalize.resize_maps import repeats_elements
from tamis.passes.canonicalize.slice_ranges import size_of

COORDINATES_OPSET = 11
"""From here on, Resize says how coordinates are computed."""
HALF_PIXEL_FORMS = frozenset({"pytorch_half_pixel", "half_pixel_symmetric"})
"""What is half_pixel by another name, for whole factors."""

DEFAULTS = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}


class Options(PassOptions):
    """Options of ``simplify-resize``."""


class SimplifyResize(NodePass[Options]):
    """Write Resizes by whole factors in one form, and take out those that resize nothing.

    *Match*: a Resize (an Upsample, for factors of 1 only) with constant scales, or constant sizes that are whole
    multiples of known sizes of the input.

    *Rewrite*: nearest becomes ``asymmetric`` with ``floor``, if output element i is input element floor(i / factor)
    already; linear ``pytorch_half_pixel`` and ``half_pixel_symmetric`` become ``half_pixel``; sizes, and scales of
    some axes only, become scales of all axes. These are the forms that ONNX Runtime keeps in its blocked layout.

    *Shapes*: output shapes do not change: ``floor(size * factor)`` is the size asked for.

    *Preserves*: bits.

    *References*: the ONNX operator Resize; onnxruntime/core/optimizer/nchwc_transformer.cc, for the forms that stay in
    the blocked layout. Measured on Conv, Resize, Conv of 64 channels, 28x28 to 56x56, one thread: nearest half_pixel
    1.05, linear pytorch_half_pixel 1.10.
    """

    name = "simplify-resize"
    stage = Stage.CANONICALIZE
    contract = Contract.EXACT
    speed_motivated = True
    options_type = Options
    op_types = frozenset({"Resize", "Upsample"})

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        problem = _unusual(node)
        if problem is not None:
            return problem
        factors, reason = _factors(node, build.opset)
        if factors is None:
            return reason
        x = node.inputs[0]
        assert x is not None
        mode = node.attributes.get_string("mode", "nearest")
        if mode == "nearest" and build.opset >= COORDINATES_OPSET and not _repeats(node, x, factors):
            return "nearest elements are others than those of asymmetric with floor"
        if all(factor == 1 for factor in factors) and (mode == "nearest" or not _shifts(node)):
            replace(node, x, build)
            return True
        if build.opset < COORDINATES_OPSET or mode not in ("nearest", "linear"):
            return False
        renamed = _set_form(node, mode)
        return _set_scales(node, factors, build) or renamed


def _unusual(node: ir.Node) -> str | None:
    attributes = node.attributes
    if attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return "a region of interest"
    if attributes.get_int("antialias", 0):
        return "antialiasing"
    if attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "the aspect ratio is kept"
    return None


def _factors(node: ir.Node, opset: int) -> tuple[list[int] | None, str]:
    """The whole factor of every axis, or why there is none."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None, "the rank is not known"
    given = _given_scales(node, opset)
    if given is None:
        return None, "scales or sizes are not constant, or sizes of the input not known"
    rank = len(x.shape)
    axes = node.attributes.get_ints("axes", tuple(range(rank)))
    factors = [1] * rank
    for axis, scale in zip(axes, given, strict=True):
        if scale < 1 or scale != int(scale):
            return None, "a factor is not whole"
        factors[axis] = int(scale)
    return factors, ""


def _given_scales(node: ir.Node, opset: int) -> list[float] | None:
    """Factors of the axes that the node names."""
    if opset < COORDINATES_OPSET:
        written = node.attributes.get_floats("scales")
        array = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
        return list(written) if written is not None else None if array is None else [float(s) for s in array]
    scales, sizes = (constant_array(v) for v in _padded(node)[2:])
    if scales is not None and scales.size:
        return [float(s) for s in scales]
    x = node.inputs[0]
    if sizes is None or x is None or x.shape is None:
        return None
    old = [size_of(x, axis) for axis in node.attributes.get_ints("axes", tuple(range(len(x.shape))))]
    if None in old or 0 in old:
        return None
    return [float(new) / o for new, o in zip(sizes, old, strict=True) if o is not None]


def _padded(node: ir.Node) -> tuple[ir.Value | None, ...]:
    return (*node.inputs, None, None, None)[:4]


def _repeats(node: ir.Node, x: ir.Value, factors: list[int]) -> bool:
    coordinates, rounding = (node.attributes.get_string(name, default) for name, default in DEFAULTS.items())
    return all(repeats_elements(coordinates, rounding, f, size_of(x, axis)) for axis, f in enumerate(factors))


def _shifts(node: ir.Node) -> bool:
    """Whether coordinates are not those of the input even where no size changes."""
    return node.attributes.get_string("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn"


def _set_form(node: ir.Node, mode: str) -> bool:
    """Write coordinates, and the rounding, in the usual form; True if they were not."""
    coordinates = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    wanted = dict[str, str]()
    if mode == "nearest":
        wanted = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    elif coordinates in HALF_PIXEL_FORMS:
        wanted = {"coordinate_transformation_mode": "half_pixel"}
    changed = {n: value for n, value in wanted.items() if node.attributes.get_string(n, DEFAULTS[n]) != value}
    for name, value in changed.items():
        node.attributes[name] = ir.AttrString(name, value)
    return bool(changed)


def _set_scales(node: ir.Node, factors: list[int], build: Builder) -> bool:
    """Write ``factors`` as scales of all axes; True if they were given otherwise."""
    _, _, scales, sizes = _padded(node)
    array = constant_array(scales)
    if sizes is None and array is not None and "axes" not in node.attributes:
        return False
    node.resize_inputs(3)
    node.replace_input_with(2, build.constant(np.array(factors, np.float32)))
    node.attributes.pop("axes", None)
    build.loose.update((v, None) for v in (scales, sizes) if v is not None)
    return True
