"""Remove quantizing and dequantizing that changes nothing.

::

    QuantizeLinear(DequantizeLinear(q))                  ->  q                       same scale and zero point
    QuantizeLinear(MaxPool(DequantizeLinear(q)))         ->  MaxPool(q)              and other data movement
    QuantizeLinear(constant)                             ->  the constant's integers
    the same QuantizeLinear or DequantizeLinear twice    ->  once

Scales count as the same if their bits are, wherever they are stored.

*Refuses*: scales that differ, are not constant, not normal numbers, or so large that a number overflows; 4-bit, 32-bit
and floating-point storage; 16-bit storage with float16 scales; several scales over data movement; values in between
that something else reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.graph_edit import Names, drop_if_unused, sole_user
from tamis.compiler.rewriting.node_pass import replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.passes.quantization.calibration.affine import Affine
from tamis.passes.quantization.dequantization.float_values import Scale, scale_of

MIN_OPSET = 13
BITS = {ir.DataType.INT8: 8, ir.DataType.UINT8: 8, ir.DataType.INT16: 16, ir.DataType.UINT16: 16}
EIGHT = (ir.DataType.INT8, ir.DataType.UINT8)
MOVERS = frozenset(
    {"Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Data movement that runtimes compute on 8-bit integers as well."""
OTHER_SCALE = "the scale behind it is another"


class Options(PassOptions):
    """Options of ``clean-qdq``."""


class CleanQdq(GraphPass[Options]):
    """Remove pairs of QuantizeLinear and DequantizeLinear that change nothing, and what is there twice.

    *Match*: QuantizeLinear of a constant, or of what DequantizeLinear gave with the same scale, directly or through data
    movement that nothing else reads; nodes with equal inputs.

    *Rewrite*: the integers go on as they are. A pair in the other order, ``DequantizeLinear(QuantizeLinear(x))``, rounds
    and stays.

    *Preserves*: every bit: ``(q - z) s / s`` is within a quarter of ``q - z``, which rounding makes whole again.

    *References*: ONNX operators QuantizeLinear and DequantizeLinear.
    """

    name = "clean-qdq"
    stage = Stage.QUANTIZE
    contract = Contract.EXACT
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        own = {name for domain, name, _ in model.functions if domain == ""}
        build = Builder(Names(model), opset)
        counts, skips = Counter[str](), dict[Skip, None]()
        for graph in model.graphs():
            seen: dict[Hashable, ir.Node] = {}
            for node in graph:
                if node.domain != "" or node.op_type not in {"QuantizeLinear", "DequantizeLinear"} - own:
                    continue
                build.before(node)
                done = _simplify(node, build)
                if done is None and (first := seen.setdefault(key := _key(node), node)) is not node:
                    done = "removed", first.outputs[0]
                    if first.graph is None:
                        seen[key], done = node, None
                if isinstance(done, str):
                    skips[Skip(done, node.name or node.outputs[0].name or node.op_type)] = None
                elif done is not None:
                    counts[f"{node.op_type} {done[0]}"] += 1
                    replace(node, done[1], build)
        drop_if_unused(build.loose)
        return PassResult(model, modified=bool(counts), counts=dict(counts), skips=tuple(skips))


def _simplify(node: ir.Node, build: Builder) -> tuple[str, ir.Value] | str | None:
    """What was done and what stands for ``node``, or why it was left alone; None if it is no candidate."""
    value, scale = node.inputs[0], scale_of(node)
    if node.op_type == "DequantizeLinear" or value is None:
        return None
    array = constant_array(value)
    if array is not None:
        problem = _problem(node, scale)
        return problem or _folded(array, scale, build)
    path: list[ir.Node] = []
    while (producer := value.producer()) is not None and producer.domain == "" and producer.op_type in MOVERS:
        path.append(producer)
        if producer.inputs[0] is None:
            return None
        value = producer.inputs[0]
    if producer is None or producer.domain != "" or producer.op_type != "DequantizeLinear":
        return None
    integers = producer.inputs[0]
    problem, kind = _pair_problem(node, producer, path), _stored(node)
    if problem is not None or integers is None or kind is None:
        return problem
    return "removed", _moved(integers, kind, path, build)


def _problem(node: ir.Node, scale: Scale) -> str | None:
    """Why the integers of ``node``, a QuantizeLinear, cannot be known."""
    steps, zero, dtype = constant_array(scale.scale), scale.zero_array(scale), _stored(node)
    if steps is None or zero is None:
        return "the scale or zero point is not constant"
    if dtype not in BITS or scale.block or node.attributes.get_int("precision", 0):
        return "not stored as 8-bit or 16-bit integers with one scale an axis"
    if steps.dtype not in (np.float32, np.float16) or (steps.dtype == np.float16 and BITS[dtype] == 16):
        return "the type of the scale is too coarse"
    limits = np.finfo(steps.dtype)
    wide = steps.astype(np.float64)
    if not ((wide >= float(limits.tiny)) & (wide * 2.0 ** BITS[dtype] <= float(limits.max))).all():
        return "the scale is not a normal number, or too large"
    return None


def _stored(node: ir.Node) -> ir.DataType | None:
    """The element type that a QuantizeLinear gives."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None:
        return zero.dtype
    return ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)


def _folded(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], scale: Scale, build: Builder
) -> tuple[str, ir.Value] | str:
    steps, zero = constant_array(scale.scale), scale.zero_array(scale)
    assert steps is not None and zero is not None
    if array.dtype != np.float32 or steps.dtype != np.float32:
        return "the constant is not float32"
    if not np.isfinite(array).all() or scale.zero is None:
        return "the constant is not finite, or there is no zero point"
    axis = None if steps.size == 1 else scale.axis
    shape = () if axis is None else (-1,)
    found = Affine(steps.reshape(shape), zero.reshape(shape), axis).quantize(array)
    return "folded", build.constant(found)


def _pair_problem(node: ir.Node, dequantize: ir.Node, path: list[ir.Node]) -> str | None:
    """Why what ``dequantize`` gives, moved by ``path``, is not known to be quantized back by ``node``."""
    scale, before, integers = scale_of(node), scale_of(dequantize), dequantize.inputs[0]
    kind = before.zero.dtype if before.zero is not None else None if integers is None else integers.dtype
    if not before.equals(scale) or kind is None or kind != _stored(node):
        return OTHER_SCALE
    if (problem := _problem(node, scale)) is not None:
        return problem
    if not path:
        return None
    if scale.scale.shape is None or any(d != 1 for d in scale.scale.shape) or kind not in EIGHT:
        return "several scales, or 16-bit integers, over data movement"
    if any(m.op_type == "MaxPool" and (len(m.outputs) > 1 or m.attributes.get_int("ceil_mode", 0)) for m in path):
        return "a pool with indices, or whose windows may lie outside"
    if any(sole_user(m.outputs[0]) is None for m in path):
        return "something else reads the value in between"
    return None


def _moved(value: ir.Value, kind: ir.DataType, path: list[ir.Node], build: Builder) -> ir.Value:
    """``value``, integers, moved by the nodes of ``path``, nearest to the end first."""
    for mover in reversed(path):
        attributes = {name: attribute.value for name, attribute in mover.attributes.items()}
        moved = build.op(mover.op_type, value, *mover.inputs[1:], **attributes)
        moved.shape, moved.type = mover.outputs[0].shape, ir.TensorType(kind)
        value = moved
    return value


def _key(node: ir.Node) -> Hashable:
    """Equal for nodes that compute the same: constants by their bits."""
    attributes = tuple((name, str(a.value)) for name, a in sorted(node.attributes.items()))
    return node.op_type, id(node.inputs[0]), attributes, tuple(map(_content, node.inputs[1:]))


def _content(value: ir.Value | None) -> Hashable:
    array = constant_array(value)
    return id(value) if array is None else (array.dtype.name, array.shape, array.tobytes())
