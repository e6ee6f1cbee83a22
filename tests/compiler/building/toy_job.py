"""Stands for ``tamis compile`` in tests: what it does follows from the name of the model."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from tamis.compiler.building import compile_child


def run(arguments: list[str]) -> int:
    """Print what a compile would, or crash, or never end; leaves its process id beside the output."""
    model, out = Path(arguments[1]), Path(arguments[arguments.index("--out") + 1])
    out.parent.mkdir(parents=True, exist_ok=True)
    with (out.parent / "started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if model.stem == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if model.stem == "slow" and not model.with_name("go").exists():
        time.sleep(600)
    if model.stem in ("missed", "bad"):
        code = 1 if model.stem == "missed" else 3
        sys.stdout.write(json.dumps({"error": {"code": "T400", "message": "too <slow>", "fix": "wait"}}))
        return code
    sys.stdout.write(json.dumps([{"path": str(out), "state": "built", "up_to_date": False}]))
    return 0


if __name__ == "__main__":
    sys.exit(compile_child.main(run))
