"""Budgets: what must hold at the end of a compile."""

from __future__ import annotations

from dataclasses import dataclass

from tamis.compiler.recipe import AccuracyBudget, Budget, LatencyBudget, SizeBudget

MB = 1_000_000


@dataclass(frozen=True)
class Reached:
    """What the lowered model reached; None where it was not measured.

    Args:
        drop: Loss of the task metric.
        sqnr_db: Signal-to-noise ratio of the outputs, dB.
        milliseconds: Latency at the percentile of the latency budget.
        speedup: Paired ratio over the model as given.
        megabytes: Size of the lowered model, MB.
    """

    drop: float | None
    sqnr_db: float | None
    milliseconds: float | None
    speedup: float | None
    megabytes: float


def missed(budget: Budget, reached: Reached, undone: dict[str, str], short: dict[str, str]) -> list[str]:
    """One clause for each budget that is missed: its name, what was wanted, what was reached.

    Args:
        undone: Steps that were undone because they broke the accuracy budget -> what they would have cost.
        short: Steps that did not reach their goal -> what was wanted and what they got.
    """
    accuracy = budget.accuracy or AccuracyBudget()
    latency = budget.latency or LatencyBudget()
    size = budget.size or SizeBudget()
    found = [f"budget.accuracy: step {step} was undone: {why}" for step, why in undone.items()]
    found += [f"goal of {step}: {why}" for step, why in short.items()]
    limits = (
        ("accuracy.max_drop", accuracy.max_drop, reached.drop, 1, ""),
        ("accuracy.min_sqnr", accuracy.min_sqnr, reached.sqnr_db, -1, " dB"),
        ("latency.max_ms", latency.max_ms, reached.milliseconds, 1, " ms"),
        ("latency.min_speedup", latency.min_speedup, reached.speedup, -1, "x"),
        ("size.max_mb", size.max_mb, reached.megabytes, 1, " MB"),
    )
    for name, wanted, got, sign, unit in limits:
        if wanted is None or got is None or sign * (got - wanted) <= 0:
            continue
        relation = "at most" if sign > 0 else "at least"
        found.append(f"budget.{name}: wanted {relation} {wanted:g}{unit}, got {got:.4g}{unit}")
    return found
