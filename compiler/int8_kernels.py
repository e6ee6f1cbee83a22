"""Which operators a runtime computes in 8-bit integers between Q and DQ, and on what conditions: data, not code.

A runtime keeps its table in a file of its own folder and gives it by ``Runtime.int8_kernels``; passes read the table and
never ask for the runtime's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ElementType = Literal["int8", "uint8"]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TypePair(_Data):
    """Element types of one integer product."""

    activations: ElementType = Field(description="Of what is computed while the model runs.")
    weights: ElementType = Field(description="Of constant weights; symmetric, so that their zero point is 0.")


class Int8Operator(_Data):
    """One operator between Q and DQ.

    ``computes``: products with constant weights, worth being integer for their own sake. ``elementwise``: integer kernels
    with a scale for each side. ``moves``: elements are moved or compared, so both sides must have the same scale.
    """

    role: Literal["computes", "elementwise", "moves"]
    inputs: tuple[int, ...] | Literal["all"] = Field((0,), description="Positions of the activations.")
    weight: int | None = Field(None, description="Position of the constant weight of ``computes``.")
    bias: int | None = Field(None, description="Position of the bias, which becomes int32.")
    per_channel: bool = Field(True, description="Whether weights may have a scale for each output channel.")
    needs_output: bool = Field(True, description="False if the integer kernel can give floats: no Q behind is needed.")
    takes_sums: bool = Field(
        False,
        description="Without a bias and without a Q behind, the runtime takes an Add or Sum behind, of at most two dimensions, "
        "into the product, and computes both in floats.",
    )
    equals: Mapping[str, str | int | float] = Field(
        default_factory=dict, description="Attributes that must have this value; absent ones have it by definition."
    )
    never: tuple[Mapping[str, str | int | None], ...] = Field(
        (),
        description="Attributes with which the runtime's integer kernel gives something else or fails, if all of them have "
        "these values; null stands for any value that is given. Nodes with them must not stand between DQ and Q at all.",
    )
    outputs: Literal[1, "all"] = Field(
        1, description="1: no integer kernel for nodes of which further outputs are used."
    )
    kernels: tuple[str, ...] = Field(description="Names, with domain, in the runtime's optimized graph.")
    written_as: Literal["itself", "scaled-add"] = Field(
        "itself",
        description="``scaled-add``: there is no kernel, but ``clip(a x + b, 0, 1)`` is an Add of b to the same integers "
        "at a times their scale, whose Q clips.",
    )


class Int8Kernels(_Data):
    """What a runtime can do in 8-bit integers on one kind of machine."""

    types: TypePair = Field(description="The pair with the fastest kernels.")
    absorbed: tuple[str, ...] = Field(description="Activations that the Q behind an integer kernel makes superfluous.")
    operators: Mapping[str, Int8Operator] = Field(description="Operator of the standard domain -> what it takes.")
