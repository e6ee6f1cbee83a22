"""A search that measures on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from tamis.compiler.errors import LoweringError
from tamis.compiler.link import Link
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.rpc.reach import device_settings
from tests.models import model, random
from tests.targets.tvm.rpc.conftest import HOST
from tests.targets.tvm.rpc.served import Served


def request_for(folder: Path, address: str) -> dict[str, Any]:
    found = model("g (float[16, 24] x) => (float[16, 40] y) { p = MatMul(x, w)\n y = Relu(p) }", w=random(24, 40))
    ir.save(found, folder / "model.onnx")
    return {
        "model": str(folder / "model.onnx"),
        "target": HOST,
        "settings": {"threads": 2},
        "known": None,
        "trials": 4,
        "seconds": None,
        "seed": 0,
        "device": device_settings(Link(kind="rpc", address=address)),
    }


def test_schedules_are_measured_on_the_device(
    compiler_process: CompilerProcess, mortal: Served, tmp_path: Path
) -> None:
    reports: list[dict[str, Any]] = []
    found = compiler_process.request("tune", request_for(tmp_path, mortal.address), lambda r: reports.append(dict(r)))
    assert found["trials"] == 4 and found["failed"] < 4 and 0 < found["estimated_ms"] < 100
    (record,) = reports[-1]["records"]
    assert record["value"]["schedules"][0]["us"] == min(s["us"] for s in record["value"]["schedules"])
    mortal.event("end")
    assert mortal.folders() == []


def test_a_device_that_is_lost_ends_the_search(compiler_process: CompilerProcess, tmp_path: Path) -> None:
    with pytest.raises(LoweringError, match=r"phase 'tune'.*DeviceLost: device 127.0.0.1:1, phase connect: no device"):
        compiler_process.request("tune", request_for(tmp_path, "127.0.0.1:1"))
