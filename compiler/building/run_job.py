"""One job in a process of its own, so that a crash takes no other with it, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from tamis.compiler.building.job import NOT_RUN, Job, Result
from tamis.compiler.building.quiet import Quiet, Stopped
from tamis.compiler.building.room import Room
from tamis.compiler.errors import TamisError

CHILD = "tamis.compiler.building.compile_child"
CRASHED = 5
MISSED = 1
INTERRUPTED = 130
LAST_LINE = 300


@dataclass(frozen=True)
class Workshop:
    """What the jobs of one process share.

    Args:
        quiet: Starts them.
        room: The memory that they may take.
        module: What is run with the arguments of ``tamis``.
    """

    quiet: Quiet
    room: Room
    module: str = CHILD

    def run(self, job: Job) -> Result:
        """Compile; never raises for what the compile does."""
        with self.room.taken(job.memory), tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begun = time.monotonic()
            name = f"{uuid.uuid4().hex} {' '.join(job.label.split())}"
            command = [sys.executable, "-P", "-m", self.module, *job.arguments()]
            env = {**os.environ, "PYTHONPATH": _import_path()}
            try:
                child = self.quiet.start(name, command, env, job.folder, out, err)
            except Stopped:
                return NOT_RUN
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            self.quiet.ended(name)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            found = self._result(job, child.returncode, out, err)
            return replace(found, seconds=time.monotonic() - begun, peak_bytes=used.ru_maxrss * 1024)

    def _result(self, job: Job, status: int, out: IO[bytes], err: IO[bytes]) -> Result:
        if self.quiet.stopped and status in (INTERRUPTED, -signal.SIGINT, -signal.SIGKILL):
            return NOT_RUN
        if status < 0:
            return Result("failed", CRASHED, _ended_by(-status))
        said = _document(out)
        if status == 0 and isinstance(said, list) and said:
            return replace(figures(Path(said[0]["path"])), verdict=said[0].get("state", "built"))
        if isinstance(said, dict) and "error" in said:
            reason = _joined(said["error"])
            if status == MISSED:
                missed = job.out.with_name(f"{job.out.stem}.missed{job.out.suffix}")
                return replace(figures(missed), verdict="missed budget", exit_code=status, reason=reason)
            return Result("failed", status, reason)
        return Result("failed", status or CRASHED, _last_line(err) or f"ended with status {status} and said nothing")


def figures(path: Path) -> Result:
    """Speed, size and accuracy of a bundle; none of it if there is no bundle."""
    from tamis.compiler.bundle import open_bundle

    try:
        bundle = open_bundle(path, check=False)
        ratio = bundle.measurements.get("speedup") or {}
    except TamisError:
        return Result("built")
    report = bundle.report
    return Result(
        "built",
        speedup=ratio.get("speedup"),
        low=ratio.get("low"),
        high=ratio.get("high"),
        faster=ratio.get("verdict"),
        bytes=sum(report.files[name].bytes for name in report.artifact),
        drop=report.accuracy.drop if report.accuracy else None,
    )


def _import_path() -> str:
    """What this process imports from, whatever folder the child runs in."""
    return os.pathsep.join(str(Path(place).absolute()) for place in sys.path if place)


def _document(out: IO[bytes]) -> Any:
    out.seek(0)
    try:
        return json.loads(out.read())
    except ValueError:
        return None


def _joined(parts: dict[str, Any]) -> str:
    """The line that the command would have printed."""
    keys = ("where", "expected", "found", "fix")
    return f"{parts['code']}: {TamisError(parts['message'], **{key: parts.get(key) for key in keys})}"


def _ended_by(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = "; it may have had too little memory: try fewer --jobs" if name == "SIGKILL" else ""
    return f"the compile was ended by {name}{hint}"


def _last_line(err: IO[bytes]) -> str:
    err.seek(0)
    lines = err.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:LAST_LINE] if lines else ""
