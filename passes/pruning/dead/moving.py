"""Facts through operators that move elements: what is known of a slice goes where the slice goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.passes.pruning.dead.elementwise import align
from tamis.passes.pruning.dead.fact import LIMIT, Fact, collapse, expand, only
from tamis.passes.pruning.dead.facts import Facts, Rule, digest, signature
from tamis.passes.pruning.dead.reshaping import reshaped


def _marked(fact: Fact, node: ir.Node, facts: Facts) -> Fact:
    """Slices that differ from those of the input, in a way that the operator says."""
    return Fact(fact.low, fact.high, facts.numbers.combine(signature(node, whole=True), fact.number))


def _reshape(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    value, output = node.inputs[0], node.outputs[0]
    fact, before = facts.of(value), None if value is None else facts.shape(value)
    after = facts.shape(output)
    if fact is None or before is None or after is None:
        return ()
    found = reshaped(fact, before, after, facts.numbers)
    return () if found is None else (_marked(found, node, facts),)


def _transpose(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    fact = facts.of(node.inputs[0])
    if fact is None:
        return ()
    order = node.attributes.get_ints("perm", tuple(reversed(range(len(fact.shape)))))
    turned = Fact(fact.low.transpose(order), fact.high.transpose(order), fact.number.transpose(order))
    return (_marked(turned, node, facts),)


def _concat(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    values = [v for v in node.inputs if v is not None]
    shapes = [facts.shape(v) for v in values]
    parts = [facts.of(v) for v in values]
    if not values or any(p is None for p in parts) or any(s is None for s in shapes):
        return ()
    rank = len(shapes[0] or ())
    axis = node.attributes.get_int("axis", 0) % max(rank, 1)
    others = [
        max(p.shape[i] for p in parts if p is not None) if i != axis else 1 for i in range(rank)
    ]  # axes that any part tells apart
    whole: list[Fact] = []
    for part, shape in zip(parts, shapes, strict=True):
        assert part is not None and shape is not None
        for i, told in enumerate(others):
            size = shape[i] if i == axis else told
            if size is None or part.low.size * size > LIMIT * part.shape[i]:
                return ()
            part = expand(part, i, size, facts.numbers)
        whole.append(part)
    low, high, number = (
        np.concatenate([getattr(p, name) for p in whole], axis=axis) for name in ("low", "high", "number")
    )
    return (Fact(low, high, number),)


def _split(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    value = node.inputs[0]
    fact, shape = facts.of(value), None if value is None else facts.shape(value)
    if fact is None or shape is None:
        return ()
    axis = node.attributes.get_int("axis", 0) % len(shape)
    sizes = [s[axis] if (s := facts.shape(v)) is not None else None for v in node.outputs]
    total = shape[axis]
    if total is None or any(size is None for size in sizes) or fact.low.size * total > LIMIT * fact.shape[axis]:
        return ()
    fact = expand(fact, axis, total, facts.numbers)
    found, start = [], 0
    for size in sizes:
        assert size is not None
        found.append(fact.taken((*(slice(None),) * axis, slice(start, start + size))))
        start += size
    return found


def _slice(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Axes that are told apart are cut; the rest only says that the slices are others."""
    fact = facts.of(node.inputs[0])
    given = [constant_array(v) for v in node.inputs[1:]]
    if (
        fact is None
        or len(given) < 2
        or any(v is not None and g is None for v, g in zip(node.inputs[1:], given, strict=True))
    ):
        return ()
    starts, ends, axes, steps = (a.tolist() if a is not None else None for a in (*given, None, None)[:4])
    assert starts is not None and ends is not None
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[i] if axes else i) % len(fact.shape)
        step = steps[i] if steps else 1
        if fact.shape[axis] > 1:
            size = fact.shape[axis]
            stop = None if step < 0 and end < -size else end
            fact = fact.taken((*(slice(None),) * axis, slice(start, stop, step)))
    return (_marked(fact, node, facts),)


def _gather(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Constant positions of a value, or rows of a constant table."""
    value, positions = node.inputs[0], constant_array(node.inputs[1])
    axis = node.attributes.get_int("axis", 0)
    if positions is None:
        return _look_up(node, axis, facts)
    fact, shape = facts.of(value), None if value is None else facts.shape(value)
    if fact is None or shape is None or shape[axis] is None:
        return ()
    axis, size = axis % len(shape), shape[axis] or 0
    if fact.low.size * max(size, positions.size) > LIMIT * fact.shape[axis]:
        return ()
    fact = expand(fact, axis, size, facts.numbers)
    where = np.where(positions < 0, positions + size, positions)
    return (Fact(*(np.take(a, where, axis=axis) for a in (fact.low, fact.high, fact.number))),)


def _look_up(node: ir.Node, axis: int, facts: Facts) -> Sequence[Fact | None]:
    """Rows of a constant table at computed places: each column is within its bounds."""
    table, places = constant_tensor(node.inputs[0]), node.inputs[1]
    shape = None if places is None else facts.shape(places)
    fact = facts.of(places)
    if table is None or len(table.shape) != 2 or axis != 0 or shape is None or fact is None:
        return ()
    array = table.numpy()
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        return ()
    where = only(fact, (), facts.numbers).number.reshape((1,) * (len(shape) + 1))
    columns = np.asarray([facts.numbers.of(("column", digest(c))) for c in array.T], np.int64)
    number = facts.numbers.combine(signature(node), where, columns)
    low, high = (a.astype(np.float64).reshape(number.shape) for a in (array.min(axis=0), array.max(axis=0)))
    return (Fact(low, high, number),)


def _pad(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """With a constant: as positions of their own where positions are told apart, else within the bounds of all."""
    fact, amounts = facts.of(node.inputs[0]), constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if fact is None or amounts is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return ()
    mode = node.attributes.get_string("mode", "constant")
    filler = node.inputs[2] if len(node.inputs) > 2 else None
    fill = constant_array(filler)
    rank = len(fact.shape)
    if mode not in ("constant", "reflect", "edge") or (filler is not None and fill is None) or (amounts < 0).any():
        return ()
    border = 0.0 if fill is None else float(fill)
    widths = [(int(amounts[i]), int(amounts[rank + i])) for i in range(rank)]
    told = [widths[i] if fact.shape[i] > 1 else (0, 0) for i in range(rank)]
    if mode != "constant":
        if any(a or b for a, b in told):
            return ()
        return (_marked(fact, node, facts),)
    outside = facts.numbers.of(("constant slices", border, rank))
    padded = Fact(
        np.pad(fact.low, told, constant_values=border),
        np.pad(fact.high, told, constant_values=border),
        np.pad(fact.number, told, constant_values=outside),
    )
    if any(a or b for i, (a, b) in enumerate(widths) if fact.shape[i] == 1):
        padded = Fact(np.minimum(padded.low, border), np.maximum(padded.high, border), padded.number)
    return (_marked(padded, node, facts),)


def _expand(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """To a larger shape: positions that are told apart stay so."""
    value, shape = node.inputs[0], facts.shape(node.outputs[0])
    aligned = None if value is None or shape is None else align([value], len(shape), facts)
    return () if aligned is None else (_marked(aligned[0], node, facts),)


def _resize(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Each element is one of the input or a mean of several; channels stay apart if their number stays."""
    value, output = node.inputs[0], node.outputs[0]
    fact, before, after = facts.of(value), None if value is None else facts.shape(value), facts.shape(output)
    outside = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if fact is None or before is None or after is None or outside:
        return ()
    if node.attributes.get_string("mode", "nearest") not in ("nearest", "linear"):
        return ()
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b or a is None]
    return (_marked(collapse(fact, changed, facts.numbers), node, facts),)


def _depth_to_space(node: ir.Node, facts: Facts) -> Sequence[Fact | None]:
    """Each channel of the result is made of ``blocksize ** 2`` of the input."""
    value = node.inputs[0]
    fact, shape = facts.of(value), None if value is None else facts.shape(value)
    block = node.attributes.get_int("blocksize", 1) ** 2
    if fact is None or shape is None or shape[1] is None:
        return ()
    fact = expand(only(fact, (1,), facts.numbers), 1, shape[1], facts.numbers)
    first = node.attributes.get_string("mode", "DCR") == "CRD"
    parts = fact.moved((-1, block) if first else (block, -1))
    if not first:
        parts = Fact(parts.low.T, parts.high.T, parts.number.T)
    return (_marked(collapse(parts, (1,), facts.numbers).moved((1, -1, 1, 1)), node, facts),)


RULES: dict[str, Rule] = {
    **{name: _reshape for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")},
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _depth_to_space,
}
