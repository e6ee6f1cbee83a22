"""What the table of gaps asks of a node: its inputs, outputs and attributes, and how they relate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor

Relation = Literal[
    "types differ",
    "leading sizes change",
    "fractional sizes",
    "rank is not that behind axis",
    "same rank",
    "spatial size of 1",
    "empty part before the last",
]


def type_name(value: ir.Value | None) -> str | None:
    """Element type as ONNX names it in lower case, ``float`` for 32 bits; ``sequence`` and ``optional``; None: unknown."""
    if value is None or value.type is None:
        return None
    if isinstance(value.type, ir.SequenceType):
        return "sequence"
    if isinstance(value.type, ir.OptionalType):
        return "optional"
    return value.type.dtype.name.lower()


def input_of(node: ir.Node, index: int) -> tuple[ir.Value | None, bool]:
    """The input, and whether it is given."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return value, value is not None


def output_of(node: ir.Node, index: int) -> tuple[ir.Value | None, bool]:
    """The output, and whether it is used: one that nothing reads is as good as none."""
    value = node.outputs[index] if index < len(node.outputs) else None
    return value, value is not None and (bool(value.uses()) or value.is_graph_output())


def attribute_of(node: ir.Node, name: str, opset: int) -> Any:
    """The value of an attribute or its default at ``opset``; None without either."""
    attribute = node.attributes.get(name)
    if attribute is not None:
        return attribute.value
    if not onnx.defs.has(node.op_type, max_inclusive_version=opset):
        return None
    declared = onnx.defs.get_schema(node.op_type, opset).attributes.get(name)
    if declared is None or not declared.default_value.name:
        return None
    return ir.serde.deserialize_attribute(declared.default_value).value


def elements_of(value: ir.Value | None) -> np.ndarray[Any, Any]:
    """Those of a constant; none of what is not constant."""
    array = constant_array(value)
    return np.empty(0) if array is None else array


def consists_of(value: ir.Value | None, wanted: tuple[float, ...]) -> bool:
    """Whether ``value`` is a constant of no elements but ``wanted``."""
    return constant_tensor(value) is not None and bool(np.isin(elements_of(value), wanted).all())


def rank_of(value: ir.Value | None) -> int | None:
    """Number of dimensions; None: unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def sizes_of(value: ir.Value | None) -> tuple[Any, ...]:
    """Numbers and symbolic sizes; none if not even the rank is known."""
    return () if value is None or value.shape is None else tuple(value.shape.dims)


def readers_of(value: ir.Value | None) -> set[str]:
    """Operators that read ``value``."""
    return set() if value is None else {use.node.op_type for use in value.uses()}


def _types_differ(node: ir.Node) -> bool:
    types = {name for value in node.inputs if (name := type_name(value)) is not None}
    return len(types) > 1


def _leading_sizes_change(node: ir.Node) -> bool:
    """Constant scales or sizes do not leave the first two sizes of the first input as they are."""
    scales, sizes = (elements_of(input_of(node, i)[0]) for i in (2, 3))
    if scales.size:
        return bool((scales[:2] != 1).any())
    return bool(sizes.size) and list(sizes_of(node.inputs[0])[:2]) != sizes[:2].tolist()


def _fractional_sizes(node: ir.Node) -> bool:
    """Sizes of the first input times the factors in the third are not known to be whole numbers."""
    factors = elements_of(input_of(node, 2)[0]).astype(np.float32)
    sizes = sizes_of(node.inputs[0]) or (None,) * factors.size
    return factors.size > 0 and (len(sizes) != factors.size or not all(map(_is_whole, sizes, factors)))


def _is_whole(size: Any, factor: np.float32) -> bool:
    """Whether their product, which runtimes compute in float32, is a whole number; for an unknown size: whatever it is."""
    product = np.float32(size) * factor if isinstance(size, int) else factor
    return bool(product == np.rint(product))


def _rank_is_not_that_behind_axis(node: ir.Node) -> bool:
    """The rank of the second input is not known to be the number of dimensions from attribute axis on."""
    rank, axis = rank_of(node.inputs[0]), node.attributes.get_int("axis", -1)
    behind = -axis if axis < 0 else None if rank is None else rank - axis
    return behind is None or rank_of(node.inputs[1]) != behind


def _spatial_size_of_1(node: ir.Node) -> bool:
    return 1 in sizes_of(node.outputs[0])[2:]


def _same_rank(node: ir.Node) -> bool:
    rank = rank_of(node.inputs[0])
    return rank is not None and rank == rank_of(node.inputs[1])


def _empty_part_before_the_last(node: ir.Node) -> bool:
    sizes = elements_of(input_of(node, 1)[0])
    return bool((sizes[:-1] == 0).any())


RELATIONS: Mapping[Relation, Callable[[ir.Node], bool]] = {
    "types differ": _types_differ,
    "leading sizes change": _leading_sizes_change,
    "fractional sizes": _fractional_sizes,
    "rank is not that behind axis": _rank_is_not_that_behind_axis,
    "same rank": _same_rank,
    "spatial size of 1": _spatial_size_of_1,
    "empty part before the last": _empty_part_before_the_last,
}
"""Conditions on several inputs and outputs of a node at once."""
