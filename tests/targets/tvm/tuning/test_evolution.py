"""Candidates from TVM's own rules."""

from __future__ import annotations

from tamis.targets.hardware.host import detect
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target


def test_candidates_are_different_and_none_is_unrolled_without_measure(kernels: CompilerProcess) -> None:
    found = kernels.request("evolved", {"target": machine_target(detect(), 2), "count": 16})
    assert found["candidates"] > 16  # the measured half bred others
    assert 0 < max(found["steps"]) <= 64
