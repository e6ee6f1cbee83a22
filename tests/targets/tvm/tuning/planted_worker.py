"""Workers with defects planted in them: what a candidate could do wrong, on purpose."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tamis.targets.tvm.tuning import measure_worker

TIMES = {"good.so": 12.5, "nan.so": float("nan"), "zero.so": 0.0, "negative.so": -3.0}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what the library is named after."""
    name = Path(request["path"]).name
    if name == "crash.so":
        os.abort()
    if name == "hang.so":
        time.sleep(600)
    if name == "raise.so":
        raise RuntimeError("no such function\nmain")
    if name == "wrong.so":
        _compute(Path(request["reference"]), 1.01)
    if name == "right.so":
        _compute(Path(request["reference"]), 1.0 + 1e-7)
        name = "good.so"
    best_us = 25.0 if request.get("best") else None
    return {"us": TIMES[name], "probed": False, "best_us": best_us, "arguments": [["float32", [1]]]}


def _compute(reference: Path, factor: float) -> None:
    """Have a result of ``factor`` times what is right checked."""
    before = np.zeros(3, np.float32)
    after = np.array([1, 2, 4], np.float32)
    for array in (after, (after * factor).astype(np.float32)):
        measure_worker.check(reference, [before], [array])
