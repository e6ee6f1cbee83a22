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

from tamis.compiler.digest import model_digest
from tamis.compiler.graph_pass import Contract, Feeds
from tamis.compiler.measure import Call, call_of
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.target import Target
from tamis.compiler.tuning_database import TuningDatabase, fingerprint_digest

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


def guard(
    before: ir.Model,
    after: ir.Model,
    contract: Contract,
    feeds: Feeds,
    target: Target,
    database: TuningDatabase,
    *,
    seconds: float = 3.0,
) -> Guarded:
    """Decide by paired measurement on ``target`` whether the step from ``before`` to ``after`` pays.

    Args:
        feeds: The inputs to measure with.
        seconds: Time budget of the measurement.

    Raises:
        LoweringError: The runtime refuses one of the models.
    """
    fingerprint = target.runtime.fingerprint(target.machine)
    shapes = {name: list(array.shape) for name, array in feeds.items()}
    workload = fingerprint_digest({"before": model_digest(before), "after": model_digest(after), "shapes": str(shapes)})
    stored = database.get(KIND, workload, fingerprint)
    if stored is None:
        measured = compare_loads(
            lambda: _load(before, feeds, target), lambda: _load(after, feeds, target), seconds=seconds
        )
        database.put(KIND, workload, fingerprint, {"verdict": measured.verdict}, measured.to_dict())
        verdict, record = str(measured.verdict), measured.to_dict()
    else:
        verdict, record = str(stored.value["verdict"]), dict(stored.measurements)
    keep = verdict == "faster" if contract is Contract.LOSSY else verdict != "slower"
    wanted = "faster" if contract is Contract.LOSSY else "not slower"
    return Guarded(keep, f"measured {verdict} on {target.name}, must be {wanted}", record, stored is not None)


def _load(model: ir.Model, feeds: Feeds, target: Target) -> Call:
    return call_of(target.runtime.load_model(model), feeds)
