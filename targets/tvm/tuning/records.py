"""Schedules as JSON: what a record holds, how one is made and applied. Runs in the compiler process.

A schedule is stored as its trace, the list of transformations that made it. Applying that to the same kernel, in any
process, gives the same code; TVM's own databases are not needed for it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import tvm
from tvm.s_tir.schedule import Schedule, Trace

from tamis.targets.tvm.tuning.store import Stored

UNFIT = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)
"""What TVM raises at a trace that it cannot follow; its own errors are of these classes."""


def trace_json(schedule: Schedule) -> Any:
    """The trace of a schedule as JSON data."""
    return _plain(schedule.trace.as_json())


def trace_digest(trace: Any) -> str:
    """Names a trace; 12 hex digits."""
    return hashlib.sha256(json.dumps(trace).encode()).hexdigest()[:12]


def apply_trace(module: tvm.IRModule, trace: Any) -> Schedule | None:
    """Schedule a kernel as stored; None if the trace does not fit, as one of another version of TVM may not."""
    schedule = Schedule(module, error_render_level="none")
    try:
        Trace.apply_json_to_schedule(trace, schedule)
    except UNFIT:
        return None
    return schedule


def has_choices(schedule: Schedule) -> bool:
    """Whether a schedule was made by choices that could be made otherwise; ours are not, and have no offspring."""
    return any(str(instruction.kind.name).startswith("Sample") for instruction in schedule.trace.insts)


def read_records(path: Path | None) -> dict[str, Stored]:
    """Records of a JSON-lines file, by workload."""
    if path is None:
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {record["workload"]: record for record in map(json.loads, lines)}


def _plain(data: Any) -> Any:
    """JSON data of what TVM gives: its numbers and strings are objects of its own."""
    if isinstance(data, tvm.tirx.IntImm):
        return int(data.value)
    if isinstance(data, tvm.tirx.FloatImm):
        return float(data.value)
    if data is None or isinstance(data, bool | int | float):
        return data
    if isinstance(data, str):
        return str(data)
    if hasattr(data, "items"):
        return {str(k): _plain(v) for k, v in data.items()}
    return [_plain(item) for item in data]
