"""The table of what TVM cannot import, cannot build or computes wrong: its form, and how a node is held against it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
import yaml
from pydantic import BaseModel, ConfigDict, Field

from tamis.compiler.rewriting.constants import constant_array, constant_tensor

TABLE = "importer_gaps.yaml"

Shapes = AbstractSet[ir.Value | None]

Relation = Literal[
    "types differ",
    "leading sizes change",
    "fractional sizes",
    "rank is not that behind axis",
    "same rank",
    "empty part before the last",
]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PortCondition(_Data):
    """What an input or an output of the node must be like; all that is given must hold."""

    present: bool | None = Field(None, description="Whether it is given (an output: used).")
    types: tuple[str, ...] | None = Field(None, description="Element types, as ONNX names them, one of which it has.")
    constant: bool | None = Field(
        None, description="Whether its elements are known before the model runs, or are sizes."
    )
    only: tuple[float, ...] | None = Field(None, description="Constant, with no elements but these.")
    other_than: tuple[float, ...] | None = Field(None, description="Given, and not a constant of these elements only.")
    any_of: tuple[float, ...] | None = Field(None, description="Constant, with one of these among its elements.")
    rank: tuple[int, ...] | None = Field(None, description="Numbers of dimensions, one of which it has.")
    empty: bool | None = Field(None, description="Whether a size is 0.")
    read_by: tuple[str, ...] | None = Field(None, description="Operators one of which reads it.")

    def holds(self, value: ir.Value | None, present: bool, shapes: Shapes) -> bool:
        """Whether ``value`` is like this."""
        known = constant_tensor(value) is not None or value in shapes
        tests = (
            (self.present, lambda wanted: present == wanted),
            (self.types, lambda wanted: present and type_name(value) in wanted),
            (self.constant, lambda wanted: present and known == wanted),
            (self.only, lambda wanted: _consists_of(value, wanted)),
            (self.other_than, lambda wanted: present and not _consists_of(value, wanted)),
            (self.any_of, lambda wanted: bool(np.isin(_elements(value), wanted).any())),
            (self.rank, lambda wanted: present and _rank(value) in wanted),
            (self.empty, lambda wanted: (0 in _sizes(value)) == wanted),
            (self.read_by, lambda wanted: not {use.node.op_type for use in _uses(value)}.isdisjoint(wanted)),
        )
        return all(test(wanted) for wanted, test in tests if wanted is not None)


class AttributeCondition(_Data):
    """What an attribute must be like; all that is given must hold. An absent one has its default, if there is any."""

    present: bool | None = Field(None, description="Whether the node has it.")
    one_of: tuple[int | float | str, ...] | None = Field(None, description="Values one of which it has.")
    none_of: tuple[int | float | str, ...] | None = Field(None, description="Values that it does not have.")

    def holds(self, node: ir.Node, name: str, opset: int) -> bool:
        """Whether attribute ``name`` of ``node`` is like this."""
        value = _attribute(node, name, opset)
        if self.present is not None and (name in node.attributes) != self.present:
            return False
        if self.one_of is not None and value not in self.one_of:
            return False
        return self.none_of is None or value not in (None, *self.none_of)


class Gap(_Data):
    """Nodes that TVM cannot compile or computes wrong; all conditions that are given must hold."""

    op: tuple[str, ...] = Field(min_length=1, description="Operators of ONNX.")
    opset: tuple[int, int] | None = Field(None, description="First and last opset.")
    attributes: dict[str, AttributeCondition] = {}
    inputs: dict[int, PortCondition] = {}
    outputs: dict[int, PortCondition] = {}
    relation: Relation | None = Field(None, description="Between the inputs and outputs; see RELATIONS.")
    wrong: bool = Field(False, description="TVM compiles such nodes and computes something else.")
    reason: str = Field(min_length=10, description="For the user, as a clause.")

    def holds(self, node: ir.Node, opset: int, shapes: Shapes) -> bool:
        """Whether ``node``, whose operator is in ``op``, is meant; ``shapes`` are values that TVM holds as shapes."""
        if self.opset is not None and not self.opset[0] <= opset <= self.opset[1]:
            return False
        return (
            all(test.holds(node, name, opset) for name, test in self.attributes.items())
            and all(test.holds(*_input(node, i), shapes) for i, test in self.inputs.items())
            and all(test.holds(*_output(node, i), shapes) for i, test in self.outputs.items())
            and (self.relation is None or RELATIONS[self.relation](node))
        )


class GapTable(_Data):
    """All that is known about one version of TVM."""

    tvm: str = Field(description="Version of apache-tvm.")
    operators: frozenset[str] = Field(description="What the importer converts, by name, whatever the domain.")
    types: frozenset[str] = Field(description="Element types that TVM computes with.")
    shape_readers: frozenset[str] = Field(
        description="Operators that take what Shape gives, which is no tensor to TVM."
    )
    shape_keepers: frozenset[str] = Field(description="Those that make the like of it again.")
    gaps: tuple[Gap, ...]

    def of(self, op_type: str) -> tuple[Gap, ...]:
        """The gaps of one operator."""
        return _by_operator()[op_type]


@cache
def gap_table() -> GapTable:
    """The table that is installed with this module."""
    text = (files("tamis.targets.tvm") / TABLE).read_text(encoding="utf-8")
    return GapTable.model_validate(yaml.safe_load(text))


@cache
def _by_operator() -> Mapping[str, tuple[Gap, ...]]:
    table = gap_table()
    return {op: tuple(gap for gap in table.gaps if op in gap.op) for op in table.operators}


def type_name(value: ir.Value | None) -> str | None:
    """Element type as ONNX names it in lower case, ``float`` for 32 bits; ``sequence`` and ``optional``; None: unknown."""
    if value is None or value.type is None:
        return None
    if isinstance(value.type, ir.SequenceType):
        return "sequence"
    if isinstance(value.type, ir.OptionalType):
        return "optional"
    return value.type.dtype.name.lower()


def _input(node: ir.Node, index: int) -> tuple[ir.Value | None, bool]:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value, value is not None


def _output(node: ir.Node, index: int) -> tuple[ir.Value | None, bool]:
    """An output that nothing reads is as good as none."""
    value = node.outputs[index] if index < len(node.outputs) else None
    return value, value is not None and (bool(value.uses()) or value.is_graph_output())


def _attribute(node: ir.Node, name: str, opset: int) -> Any:
    attribute = node.attributes.get(name)
    if attribute is not None:
        return attribute.value
    if not onnx.defs.has(node.op_type, max_inclusive_version=opset):
        return None
    declared = onnx.defs.get_schema(node.op_type, opset).attributes.get(name)
    if declared is None or not declared.default_value.name:
        return None
    return ir.from_proto(declared.default_value).value


def _elements(value: ir.Value | None) -> np.ndarray[Any, Any]:
    array = constant_array(value)
    return np.empty(0) if array is None else array


def _consists_of(value: ir.Value | None, wanted: tuple[float, ...]) -> bool:
    return constant_tensor(value) is not None and bool(np.isin(_elements(value), wanted).all())


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _sizes(value: ir.Value | None) -> tuple[Any, ...]:
    return () if value is None or value.shape is None else tuple(value.shape.dims)


def _uses(value: ir.Value | None) -> Collection[ir.Usage]:
    return () if value is None else value.uses()


def _types_differ(node: ir.Node) -> bool:
    types = {name for value in node.inputs if (name := type_name(value)) is not None}
    return len(types) > 1


def _leading_sizes_change(node: ir.Node) -> bool:
    """The first two sizes of the first output are not known to be those of the first input."""
    before, after = _sizes(node.inputs[0])[:2], _sizes(node.outputs[0])[:2]
    known = all(isinstance(d, int) or d.value is not None for d in (*before, *after))
    return not known or before != after


def _fractional_sizes(node: ir.Node) -> bool:
    """Sizes of the first input times the factors in the third are not known to be whole numbers."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    factors, sizes = _elements(value), _sizes(node.inputs[0])
    if value is None or (factors.size == 0 and constant_tensor(value) is not None):
        return False
    if factors.size != len(sizes) or not all(isinstance(s, int) for s, f in zip(sizes, factors, strict=True) if f != 1):
        return True
    return any(float(f) != 1 and not (s * float(f)).is_integer() for s, f in zip(sizes, factors, strict=True))


def _rank_is_not_that_behind_axis(node: ir.Node) -> bool:
    rank, other = _rank(node.inputs[0]), _rank(node.inputs[1])
    axis = node.attributes.get_int("axis", -1)
    return rank is None or other is None or other != (-axis if axis < 0 else rank - axis)


def _same_rank(node: ir.Node) -> bool:
    return _rank(node.inputs[0]) == _rank(node.inputs[1])


def _empty_part_before_the_last(node: ir.Node) -> bool:
    sizes = _elements(node.inputs[1] if len(node.inputs) > 1 else None)
    return bool((sizes[:-1] == 0).any())


RELATIONS: Mapping[Relation, Callable[[ir.Node], bool]] = {
    "types differ": _types_differ,
    "leading sizes change": _leading_sizes_change,
    "fractional sizes": _fractional_sizes,
    "rank is not that behind axis": _rank_is_not_that_behind_axis,
    "same rank": _same_rank,
    "empty part before the last": _empty_part_before_the_last,
}
"""Conditions on several inputs and outputs of a node at once."""
