"""Times of candidates, beside the best one's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.targets.hardware.host import detect
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target


@pytest.mark.parametrize("cold", [False, True])
def test_a_candidate_and_the_best_one_are_timed_in_turns(cold: bool, kernels: CompilerProcess, tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "target": machine_target(detect(), 2), "cold": cold}
    found = kernels.request("measured", asked)
    assert found["alone"]["us"] > 0 and found["alone"]["best_us"] is None
    assert 0.4 < found["itself"]["us"] / found["itself"]["best_us"] < 2.5
    assert found["larger"]["us"] < 0.7 * found["larger"]["best_us"]
    assert found["loaded"] == [str(tmp_path / "256.so")]  # the former best one is let go
