"""The table of what TVM cannot import, cannot build or computes wrong: its form, and how a node is held against it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from importlib.resources import files

import numpy as np
import onnx_ir as ir
import yaml
from pydantic import BaseModel, ConfigDict, Field

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.targets.tvm.node_facts import (
    RELATIONS,
    Relation,
    attribute_of,
    consists_of,
    elements_of,
    input_of,
    output_of,
    rank_of,
    readers_of,
    sizes_of,
    type_name,
)

TABLE = "importer_gaps.yaml"

Shapes = AbstractSet[ir.Value | None]


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
    computed: bool | None = Field(None, description="Whether it is no constant.")
    static: bool | None = Field(None, description="Whether all its sizes are known numbers.")
    read_by: tuple[str, ...] | None = Field(None, description="Operators one of which reads it.")

    def holds(self, value: ir.Value | None, present: bool, shapes: Shapes) -> bool:
        """Whether ``value`` is like this."""
        known = constant_tensor(value) is not None or value in shapes
        tests = (
            (self.present, lambda wanted: present == wanted),
            (self.types, lambda wanted: present and type_name(value) in wanted),
            (self.constant, lambda wanted: present and known == wanted),
            (self.only, lambda wanted: consists_of(value, wanted)),
            (self.other_than, lambda wanted: present and not consists_of(value, wanted)),
            (self.any_of, lambda wanted: bool(np.isin(elements_of(value), wanted).any())),
            (self.rank, lambda wanted: present and rank_of(value) in wanted),
            (self.empty, lambda wanted: (0 in sizes_of(value)) == wanted),
            (self.computed, lambda wanted: present and (constant_tensor(value) is None) == wanted),
            (self.static, lambda wanted: present and all(isinstance(s, int) for s in sizes_of(value)) == wanted),
            (self.read_by, lambda wanted: not readers_of(value).isdisjoint(wanted)),
        )
        return all(test(wanted) for wanted, test in tests if wanted is not None)


class AttributeCondition(_Data):
    """What an attribute must be like; all that is given must hold. An absent one has its default, if there is any."""

    present: bool | None = Field(None, description="Whether the node has it.")
    one_of: tuple[int | float | str, ...] | None = Field(None, description="Values one of which it has.")
    none_of: tuple[int | float | str, ...] | None = Field(None, description="Values that it does not have.")

    def holds(self, node: ir.Node, name: str, opset: int) -> bool:
        """Whether attribute ``name`` of ``node`` is like this."""
        value = attribute_of(node, name, opset)
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
            and all(test.holds(*input_of(node, i), shapes) for i, test in self.inputs.items())
            and all(test.holds(*output_of(node, i), shapes) for i, test in self.outputs.items())
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
