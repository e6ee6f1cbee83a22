"""What the steps of a target have made of a model so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from tamis.compiler.manifest import StepRecord


@dataclass
class Outcome:
    """What the steps made of a model.

    Args:
        model: The model after the steps that were kept.
        records: One a step.
        broken: Lossy steps that were undone because they broke the accuracy budget -> by how much.
        short: Steps with a goal that they did not reach -> what was wanted and what they got.
        timings: Step -> raw measurements of its guard.
        reused: How many of the steps an earlier compile took.
    """

    model: ir.Model
    records: list[StepRecord] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    short: dict[str, str] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    reused: int = 0


@dataclass
class Together:
    """Lossless steps whose speed is measured at once.

    Args:
        first: Index of the first one.
        model: The model before it.
        records: Number of records before it.
        changed: How many of the steps changed the model and are to be measured.
    """

    first: int
    model: ir.Model
    records: int
    changed: int = 0
