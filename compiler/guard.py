"""The latency guard: never slower.

A speed-motivated step is kept only on the evidence of a paired measurement on the target. A lossy step
costs accuracy, so it must be faster beyond noise; a lossless one costs nothing, so it must not be
slower beyond noise. Verdicts are stored in the tuning database under the two models' digests and the
target's fingerprint: the same build on the same machine takes the same decision without measuring
again, which keeps rebuilds bit-identical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.digest import model_digest
from tamis.compiler.graph_pass import Contract
from tamis.compiler.judge import Judge
from tamis.compiler.tuning_database import fingerprint_digest

KIND = "guard"


@dataclass(frozen=True)
class Guarded:
    """The guard's decision.

    Args:
        keep: Whether the step stays.
        reason: What was measured, in one clause.
        record: The measurement as data, for ``measurements.json``.
        reused: True if the tuning database had the verdict.
    """

    keep: bool
    reason: str
    record: dict[str, Any]
    reused: bool


def guard(before: ir.Model, after: ir.Model, contract: Contract, judge: Judge, *, seconds: float = 3.0) -> Guarded:
    """Decide by paired measurement on the judge's target whether the step from ``before`` to ``after`` pays.

    A lossless step is measured as it is, a lossy one after the runtime's legalization of both models: what floats gain by
    it later must not be credited to the step.

    Args:
        seconds: Time budget of the measurement.

    Raises:
        LoweringError: The runtime refuses one of the models.
    """
    lossy = contract is Contract.LOSSY
    target, database = judge.target, judge.database
    fingerprint = target.runtime.fingerprint(target.machine)
    shapes = {name: list(array.shape) for name, array in judge.feeds.items()}
    workload = fingerprint_digest(
        {
            "before": model_digest(before),
            "after": model_digest(after),
            "shapes": str(shapes),
            "legalized": str(lossy),
        }
    )

    def measure() -> tuple[dict[str, JsonValue], dict[str, Any]]:
        measured = judge.speedup(before, after, seconds, legalize=lossy)
        return {"verdict": measured.verdict}, measured.to_dict()

    record, reused = database.decide(KIND, workload, fingerprint, measure)
    verdict = str(record.value["verdict"])
    keep = verdict == "faster" if lossy else verdict != "slower"
    wanted = "faster" if lossy else "not slower"
    reason = f"measured {verdict} on {target.name}, must be {wanted}"
    return Guarded(keep, reason, dict(record.measurements), reused)
