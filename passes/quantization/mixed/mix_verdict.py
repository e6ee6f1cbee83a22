"""What a search for a mix of precisions found: for each unit what it got and why, and what the whole gains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from tamis.compiler.graph_pass import Detail, Skip
from tamis.compiler.paired_drop import Drop
from tamis.compiler.paired_ratio import Ratio
from tamis.passes.judging.sensitivity import Sensitivity
from tamis.passes.quantization.mixed.choose_mix import Mix

FIGURES = ("sqnr_db", "divergence", "float_us", "int8_us")
"""Of a unit, for the report."""


@dataclass(frozen=True)
class UnitVerdict:
    """One unit.

    Args:
        unit: Its name.
        integer: Whether it runs in integers.
        reason: Why.
        sqnr_db: Signal-to-noise ratio of the outputs when it alone is quantized, dB; None if there is no noise, or
            nothing but noise.
        divergence: Kullback-Leibler divergence then, nats; None where no output is a distribution.
        float_us, int8_us: Its time in float and in integers, microseconds, conversions apart.
    """

    unit: str
    integer: bool
    reason: str
    sqnr_db: float | None
    divergence: float | None
    float_us: float
    int8_us: float


@dataclass(frozen=True)
class MixedPlan:
    """The outcome.

    Args:
        verdicts: One a unit, in the order of the model.
        speedup: Over the float model, and the ends of its interval, measured end to end; of the best mix that held the
            budget, even if it was not faster; None if none held it.
        predicted_speedup: What the table of latencies said of it.
        looks: How often the metric was looked at.
        drop: Loss of the task metric of that mix with its standard error; None without labelled samples.
        margin: What had to be left of the budget, see ``accuracy``.
    """

    verdicts: tuple[UnitVerdict, ...]
    speedup: Ratio | None = None
    predicted_speedup: float | None = None
    looks: int = 0
    drop: Drop | None = None
    margin: float = 0.0

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the units in integers."""
        return tuple(v.unit for v in self.verdicts if v.integer)

    def skips(self) -> tuple[Skip, ...]:
        """The units left in float, with their reasons."""
        return tuple(Skip(v.reason, v.unit) for v in self.verdicts if not v.integer)

    def details(self) -> tuple[Detail, ...]:
        """What each unit got and why."""
        return tuple(
            Detail(
                v.unit,
                "int8" if v.integer else "float",
                v.reason,
                {k: x for k in FIGURES if (x := getattr(v, k)) is not None},
            )
            for v in self.verdicts
        )

    def table(self) -> list[dict[str, Any]]:
        """One row a unit, as data."""
        return [asdict(verdict) for verdict in self.verdicts]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "verdicts": self.table(), "speedup": self.speedup and list(self.speedup)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MixedPlan:
        """What ``to_json`` gave."""
        ratio = data["speedup"]
        return cls(
            tuple(UnitVerdict(**row) for row in data["verdicts"]),
            speedup=None if ratio is None else (ratio[0], ratio[1], ratio[2]),
            predicted_speedup=data["predicted_speedup"],
            looks=data["looks"],
            drop=None if data["drop"] is None else Drop(**data["drop"]),
            margin=data["margin"],
        )


def reason_of(unit: int, chosen: AbstractSet[int], mixes: Sequence[Mix], sensitivity: Sensitivity) -> str:
    """Why a unit got what it got."""
    if unit in chosen:
        return "faster, within the accuracy budget"
    if not math.isfinite(sensitivity.noise):
        return "outputs are not finite when it is quantized"
    if unit not in mixes[0].chosen:
        return "not faster in integers, conversions at its edges included"
    return "costs too much accuracy for the time it saves"
