"""The serving program with defects planted in it; the defect is the kind of the model."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PROGRAM = Path(__file__).parents[3] / "targets" / "links" / "serve_model.py"


class Planted:
    """Doubles ``x``, unless a defect comes in between."""

    inputs = (("x", "float32", (None,)),)
    outputs = ("y",)

    def __init__(self, path: str, settings: Mapping[str, Any]) -> None:
        self.defect = settings["defect"]
        if self.defect == "abort when loaded":
            sys.stderr.write("the library is confused\n")
            sys.stderr.flush()
            os.abort()

    def __call__(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        defect = self.defect if feeds["x"].size else None
        if defect == "abort":
            sys.stderr.write("one\ntwo\nassertion failed: x > 0\n\nnow dying\n")
            sys.stderr.flush()
            os.abort()
        elif defect == "exit":
            os._exit(7)
        elif defect == "hang":
            time.sleep(600)
        elif defect == "hang up":
            os.close(int(sys.argv[1]))
        elif defect == "raise":
            raise ValueError("x is too small")
        elif defect == "nap":
            time.sleep(0.01)
        return {"y": feeds["x"] * 2}


if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("serve_model", PROGRAM)
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    sys.modules["planted"] = sys.modules["__main__"]
    program.KINDS["planted"] = "planted:Planted"
    program.main()
