"""Give every kernel of a module a schedule: the best one known, else the default. Runs in the compiler process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tvm

from tamis.targets.tvm.tuning import vector_math
from tamis.targets.tvm.tuning.default_schedule import default_schedule
from tamis.targets.tvm.tuning.records import apply_trace
from tamis.targets.tvm.tuning.store import Stored
from tamis.targets.tvm.tuning.tasks import as_main, is_kernel, scheduled, workload_digest


@dataclass
class Counts:
    """Where schedules came from.

    Args:
        tuned: Kernels with a known schedule.
        default: Kernels without.
        unfit: Kernels whose known schedules could not be applied; they have the default.
        left: Functions that schedules are not for, e.g. those of unknown sizes.
    """

    tuned: int = 0
    default: int = 0
    unfit: int = 0
    left: int = 0

    def to_json(self) -> dict[str, int]:
        """As JSON data."""
        return dict(vars(self))


def apply_schedules(
    module: tvm.IRModule, target: tvm.target.Target, known: Mapping[str, Stored]
) -> tuple[tvm.IRModule, Counts]:
    """Schedule all kernels of a module that the front passes made, and let code generation vectorize their functions.

    Args:
        module: Not changed.
        target: Of kind ``llvm``.
        known: Records by workload, see ``records``.
    """
    vector_math.register()
    counts, updated = Counts(), tvm.IRModule(module.functions, attrs=module.attrs, global_infos=module.global_infos)
    for variable, function in module.functions_items():
        if not is_kernel(function):
            counts.left += isinstance(function, tvm.tirx.PrimFunc)
            continue
        alone, digest = as_main(function), workload_digest(function)
        stored = known[digest]["value"]["schedules"] if digest in known else []
        fitting = (apply_trace(alone, item["trace"]) for item in stored)
        schedule = next((s for s in fitting if s is not None), None)
        counts.tuned += schedule is not None
        counts.unfit += schedule is None and bool(stored)
        counts.default += schedule is None and not stored
        updated[variable] = scheduled(schedule or default_schedule(alone, target), variable.name_hint)
    return updated, counts
