"""What an analysis found: a few lines, a table, the same as data, and what to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from tamis.compiler.graph_pass import PassContext


@dataclass(frozen=True)
class Bars:
    """One bar a node, in the order of the model.

    Args:
        label: Of the values, with the unit.
        values: Node -> length; not finite ones are left out.
        kinds: Node -> what its colour stands for.
    """

    label: str
    values: Mapping[str, float]
    kinds: Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """The result of one analysis.

    Args:
        summary: Name -> text, printed above the table.
        columns: Of the table.
        rows: Of the table.
        data: As JSON data.
        bars: What to draw; None if there is nothing.
    """

    summary: Mapping[str, str]
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    bars: Bars | None = None


Analyse = Callable[[ir.Model, PassContext, Callable[[float, str], None]], Finding]
"""An analysis: gets the model, which it may change, a context with target and samples, and a report of progress."""
