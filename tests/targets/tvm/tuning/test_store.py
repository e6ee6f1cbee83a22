"""Schedules in the database: merged, kept apart by target, the best few kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.tvm.tuning.store import BEST, KIND, merge, saver, write_known

HERE = {"cpu": "znver4", "threads": "2"}
ELSEWHERE = {"cpu": "znver4", "threads": "4"}


def record(*times: float, workload: str = "w", trials: int = 8, finished: int = 0, tried: str = "") -> dict[str, Any]:
    return {
        "workload": workload,
        "value": {"schedules": [{"trace": [f"t{us}"], "us": us} for us in sorted(times)]},
        "measurements": {
            "cost": min(times, default=None),
            "default_us": 100.0,
            "trials": trials,
            "finished": finished,
            "tried": list(tried),
        },
    }


def known(database: TuningDatabase, target: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    write_known(database, target, folder / "known.jsonl")
    return [json.loads(line) for line in (folder / "known.jsonl").read_text().splitlines()]


def test_records_of_another_target_are_never_used(tmp_path: Path) -> None:
    with TuningDatabase(tmp_path / "db") as database:
        saver(database, ELSEWHERE)({"records": [record(3.0)]})
        assert known(database, HERE, tmp_path) == []
        assert known(database, ELSEWHERE, tmp_path) == [record(3.0)]


def test_reports_without_records_change_nothing(tmp_path: Path) -> None:
    with TuningDatabase(tmp_path / "db") as database:
        saver(database, HERE)({"phase": "import"})
        assert list(database.items()) == []


def test_merging_keeps_the_best_of_both() -> None:
    found = merge(record(5.0, 9.0, tried="ab", trials=16, finished=16), record(2.0, 7.0, 8.0, tried="bc"))
    assert [s["us"] for s in found["value"]["schedules"]] == [2.0, 5.0, 7.0, 8.0]
    assert len(found["value"]["schedules"]) == BEST
    measurements = found["measurements"]
    assert (measurements["cost"], measurements["trials"], measurements["finished"]) == (2.0, 16, 16)
    assert measurements["tried"] == ["a", "b", "c"]


def test_a_trace_that_both_have_is_kept_once_with_its_later_time() -> None:
    slow, fast = record(5.0), record(5.0)
    fast["value"]["schedules"][0]["us"] = 4.0
    for first, second, us in ((slow, fast, 4.0), (fast, slow, 5.0)):
        assert [s["us"] for s in merge(first, second)["value"]["schedules"]] == [us]


def test_times_at_other_clocks_are_compared_by_the_default_schedule() -> None:
    """6 of 100 us then would be 12 of 200 now: no longer the best beside 10."""
    now = record(10.0)
    now["measurements"]["default_us"] = 200.0
    found = merge(record(6.0), now)
    assert [s["us"] for s in found["value"]["schedules"]] == [10.0, 12.0]
    assert (found["measurements"]["cost"], found["measurements"]["default_us"]) == (10.0, 200.0)
    never = record()
    never["measurements"]["default_us"] = None
    assert merge(record(6.0), never)["measurements"]["default_us"] == 100.0
    assert [s["us"] for s in merge(record(6.0), never)["value"]["schedules"]] == [6.0]


def test_two_searches_at_once_lose_nothing(tmp_path: Path) -> None:
    with TuningDatabase(tmp_path / "db") as one, TuningDatabase(tmp_path / "db") as two:
        saver(one, HERE)({"records": [record(5.0)]})
        saver(two, HERE)({"records": [record(4.0)]})
        found = one.get(KIND, "w", HERE)
    assert found is not None and [s["us"] for s in found.value["schedules"]] == [4.0, 5.0]  # type: ignore[call-overload, index, union-attr]
