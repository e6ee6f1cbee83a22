"""Schedules in the tuning database: which are known for a target, and what a search adds. No TVM here.

A record is for one kernel on one kind of machine. Its value holds the best few schedules, its measurements how much
was tried to find them, so that a search goes on where the last one ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tamis.compiler.staging import staged_file
from tamis.compiler.tuning_database import Record, TuningDatabase

KIND = "tvm-schedule"
BEST = 4
"""Schedules kept of a workload."""

Stored = dict[str, Any]
"""A record as the compiler process sees it: ``workload``, ``value`` and ``measurements``."""


def write_known(database: TuningDatabase, fingerprint: Mapping[str, str], path: Path) -> int:
    """Write what is known for a target as JSON lines; returns the number of kernels.

    Args:
        database: Where it is stored.
        fingerprint: The target, see ``Runtime.fingerprint``. Nothing that was measured on another is written.
        path: The file for the compiler process.
    """
    lines = [json.dumps(_stored(record)) + "\n" for record in database.matching(KIND, fingerprint)]
    with staged_file(path) as staged:
        staged.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def saver(database: TuningDatabase, fingerprint: Mapping[str, str]) -> Callable[[Mapping[str, Any]], None]:
    """What stores the ``records`` of the compiler process' reports, each as soon as it comes."""

    def save(report: Mapping[str, Any]) -> None:
        for found in report.get("records", ()):
            database.update(KIND, found["workload"], fingerprint, partial(_merged, new=found))

    return save


def merge(first: Stored, second: Stored) -> Stored:
    """Both records of one kernel as one: the best schedules of both, and what both tried.

    Clocks may have changed between the two: times of the first become those that they would be in the second, the later
    one, by what the default schedule took in either.
    """
    a, b = first["measurements"], second["measurements"]
    defaults = [m["default_us"] for m in (b, a) if m["default_us"] is not None]
    factor = defaults[0] / defaults[-1] if defaults else 1.0
    earlier = [{**s, "us": round(s["us"] * factor, 3)} for s in first["value"]["schedules"]]
    schedules = {json.dumps(s["trace"]): s for s in (*earlier, *second["value"]["schedules"])}
    best = sorted(schedules.values(), key=lambda s: s["us"])[:BEST]
    return {
        "workload": first["workload"],
        "value": {"schedules": best},
        "measurements": {
            **a,
            **b,
            "cost": best[0]["us"] if best else None,
            "default_us": defaults[0] if defaults else None,
            "trials": max(a["trials"], b["trials"]),
            "finished": max(a["finished"], b["finished"]),
            "tried": list(dict.fromkeys([*a["tried"], *b["tried"]])),
        },
    }


def _merged(old: Record | None, new: Stored) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    whole = merge(_stored(old), new) if old is not None else new
    return whole["value"], whole["measurements"]


def _stored(record: Record) -> Stored:
    return {"workload": record.workload, "value": dict(record.value), "measurements": dict(record.measurements)}
