"""Run a stage in a process of its own, with a time limit; however it ends, there is an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
QUIET = {"NNCF_CI": "1", "NNCF_CUSTOM_OPS_DISABLED": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
"""No telemetry, no bars, no look-ups in a network."""


def ask(child: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The child's answer, or ``{"error": reason}``.

    Args:
        child: The module to run.
        request: As it takes it.
        seconds: The most that it may take; then it and all that it has started end.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answer, log = (Path(scratch) / name for name in ("request.json", "answer.json", "log"))
        asked.write_text(json.dumps(request), encoding="utf-8")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", child, str(asked), str(answer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(_absolute(sys.path))},
                cwd=scratch,  # some methods leave files where they run
                start_new_session=True,
            )
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return {"error": f"took longer than {seconds:.0f} s"}
        if not answer.exists():
            last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
            return {"error": f"the process ended with status {status}: {last[:200]}"}
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        if "error" in found:
            found["log"] = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        return found


def _absolute(paths: list[str]) -> list[str]:
    return [str((ROOT / path).resolve()) for path in [*paths, "."]]
