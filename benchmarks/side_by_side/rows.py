"""A row of a comparison: make, score and time a candidate, each in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.case import Case
from benchmarks.side_by_side.processes import ask
from benchmarks.side_by_side.split import split
from benchmarks.zoo.entries import entry
from benchmarks.zoo.folder import build
from benchmarks.zoo.score import metric_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """How rows are made.

    Args:
        child: The module with the stages.
        seconds: Of each measurement, without loading.
        timeout: Seconds for a stage.
        lock: A file to lock while timing, where others time on the same machine.
        makers_time: Whether making a candidate takes measurements as well.
    """

    child: str
    seconds: float
    timeout: float
    lock: Path | None = None
    makers_time: bool = False

    def make(self, case: Case, out: Path, **asked: Any) -> Row:
        """What the stage ``make`` found; see ``row``."""
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        with _locked(self.lock if self.makers_time else None):
            return ask(self.child, {**asked, "case": _data(case), "out": str(out), "stage": "make"}, self.timeout)

    def row(self, case: Case, out: Path, **asked: Any) -> Row:
        """What the stages found; an error of a stage ends the row. Waiting for the lock costs a method nothing.

        Args:
            case: The model and its data.
            out: The folder of the candidate, emptied first.
            asked: What the stages want to know besides.
        """
        made = self.make(case, out, **asked)
        if "error" in made:
            return made
        asked |= {"case": _data(case), "made": made, "seconds": self.seconds}
        row = {k: v for k, v in made.items() if k != "path"}
        row |= ask(self.child, {**asked, "stage": "score"}, self.timeout)
        if "error" in row:
            return row
        with _locked(self.lock):
            return row | ask(self.child, {**asked, "stage": "time"}, self.timeout)


def _data(case: Case) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(case).items()}


def case_of(name: str, scratch: Path, *, max_drop: float, threads: int) -> Case:
    """An entry of the zoo, its data split into ``scratch``.

    Raises:
        FetchError: A package file cannot be had.
    """
    folder = build(entry(name))
    split(name, folder, scratch)
    return Case(name, folder, scratch, metric_of(folder), max_drop, threads)


@contextlib.contextmanager
def _locked(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
