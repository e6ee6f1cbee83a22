"""The table of rules: operator -> how it couples axes, and what it needs once some positions are gone.

A rule has two halves. ``couple`` says what goes together, before anything is decided. ``repair`` runs after weights are
sliced and mends what else the operator knows of sizes: attributes, and constants that hold shapes or positions. What
``couple`` does not mention is free: an axis without a tie can stay or go for all that the operator cares, so ``couple``
must tie or freeze every axis of every operand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from tamis.passes.pruning.axes.kept import Kept
    from tamis.passes.pruning.axes.ties import Ties

FAMILIES = (
    "convolution",
    "elementwise",
    "gather",
    "joining",
    "measuring",
    "normalization",
    "padding",
    "products",
    "recurrent",
    "reduction",
    "reshaping",
    "resizing",
    "slicing",
    "spacing",
    "spatial",
    "transposing",
)
"""Modules of this folder; each has ``RULES``."""


@dataclass(frozen=True)
class Rule:
    """What to know of an operator.

    Args:
        couple: Adds ties of a node.
        repair: Mends a node some of whose axes have lost positions; None if there is nothing to mend.
    """

    couple: Callable[[ir.Node, Ties], None]
    repair: Callable[[ir.Node, Kept], None] | None = None


@cache
def _table() -> dict[str, Rule]:
    table: dict[str, Rule] = {}
    for family in FAMILIES:
        rules: dict[str, Rule] = import_module(f"tamis.passes.pruning.coupling.{family}").RULES
        assert not table.keys() & rules.keys(), f"two rules for one operator in {family}"
        table |= rules
    return table


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of a node's operator; None if there is none. Names of other domains are ``domain::operator``."""
    domain = node.domain if node.domain != "ai.onnx" else ""
    return _table().get(f"{domain}::{node.op_type}" if domain else node.op_type)
