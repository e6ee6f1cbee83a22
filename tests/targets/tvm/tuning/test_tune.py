"""A search for real, in the compiler process: found, stored, reused, resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.hardware.host import detect
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target
from tamis.targets.tvm.tuning.store import KIND, saver, write_known
from tests.models import model, random

HERE = {"cpu": "this", "threads": "2"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[TuningDatabase]:
    with TuningDatabase(tmp_path / "tuning.sqlite") as found:
        yield found


@pytest.fixture
def request_of(tmp_path: Path, database: TuningDatabase) -> Any:
    """A request to tune a product and a sum along its rows."""
    found = model(
        "g (float[32, 24] x) => (float[32, 1] y) { p = MatMul(x, w)\n r = Relu(p)\n y = ReduceSum<keepdims = 1>(r, a) }",
        w=random(24, 40),
        a=np.array([1], np.int64),
    )
    path = tmp_path / "model.onnx"
    ir.save(found, path)

    def make(trials: int, target: dict[str, str] = HERE) -> dict[str, Any]:
        write_known(database, target, tmp_path / "known.jsonl")
        return {
            "model": str(path),
            "target": machine_target(detect(), 2),
            "settings": {"threads": 2},
            "known": str(tmp_path / "known.jsonl"),
            "trials": trials,
            "seconds": None,
            "seed": 0,
        }

    return make


def test_a_search_is_stored_reused_and_continued(
    compiler_process: CompilerProcess, database: TuningDatabase, request_of: Any
) -> None:
    reports: list[dict[str, Any]] = []

    def listen(report: Any) -> None:
        reports.append(dict(report))
        saver(database, HERE)(report)

    found = compiler_process.request("tune", request_of(4), listen)
    assert found["kernels"] == 2
    assert 2 <= found["trials"] <= 8
    assert found["failed"] == 0
    assert 0 < found["estimated_ms"] <= found["default_ms"]
    told = [r for r in reports if "records" in r]
    assert {r["phase"] for r in reports} >= {"import", "fuse", "tune"}
    assert told[-1]["trials"] == found["trials"]
    assert told[-1]["estimated_ms"] == found["estimated_ms"]
    stored = list(database.matching(KIND, HERE))
    assert len(stored) == 2
    for record in stored:
        times: list[float] = [s["us"] for s in record.value["schedules"]]  # type: ignore[union-attr, index, call-overload, misc]
        assert times == sorted(times)
        assert record.measurements["cost"] == times[0] <= record.measurements["default_us"] + 0.001
    again = compiler_process.request("tune", request_of(4))
    assert again == {**found, "trials": 0, "failed": 0}
    more = compiler_process.request("tune", request_of(6))
    assert 0 < more["trials"] <= 4
    assert 0 < more["estimated_ms"] <= more["default_ms"]  # at the clocks of this run


def test_a_search_for_another_machine_starts_afresh(
    compiler_process: CompilerProcess, database: TuningDatabase, request_of: Any
) -> None:
    compiler_process.request("tune", request_of(1), saver(database, HERE))
    assert compiler_process.request("tune", request_of(1), saver(database, HERE))["trials"] == 0
    assert compiler_process.request("tune", request_of(1, {**HERE, "threads": "4"}))["trials"] == 2


def test_a_killed_search_loses_at_most_a_batch(
    compiler_process: CompilerProcess, database: TuningDatabase, request_of: Any
) -> None:
    save = saver(database, HERE)

    def interrupt(report: Any) -> None:
        save(report)
        if "records" in report:
            raise KeyboardInterrupt

    with CompilerProcess(threads=2) as process, pytest.raises(KeyboardInterrupt):
        process.request("tune", request_of(3), interrupt)
    (kept,) = database.matching(KIND, HERE)
    assert kept.measurements["trials"] == 3
    found = compiler_process.request("tune", request_of(3), save)  # another process, which names kernels alike
    assert found["kernels"] == 2
    assert 0 < found["trials"] <= 3
    assert json.dumps(database.get(KIND, kept.workload, HERE).value) == json.dumps(kept.value)  # type: ignore[union-attr]


def test_a_search_goes_on_from_schedules_that_repack_weights(
    compiler_process: CompilerProcess, database: TuningDatabase, request_of: Any, tmp_path: Path
) -> None:
    """TVM's evolution cannot breed from them: it would repack the weights once more, and fail."""
    path = tmp_path / "large.onnx"
    ir.save(model("g (float[8, 256] x) => (float[8, 640] y) { y = MatMul(x, w) }", w=random(256, 640)), path)
    compiler_process.request("tune", {**request_of(2), "model": str(path)}, saver(database, HERE))
    (record,) = database.matching(KIND, HERE)
    assert "layout_rewrite" in json.dumps(record.value["schedules"])
    found = compiler_process.request("tune", {**request_of(18), "model": str(path)}, saver(database, HERE))
    assert found["trials"] > 8
