"""One compile of a build, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["built", "restored", "up to date", "missed budget", "failed", "not run"]
GOOD: tuple[Verdict, ...] = ("built", "restored", "up to date")


@dataclass(frozen=True)
class Job:
    """A model, compiled by a recipe for one target. Paths are absolute.

    Args:
        model: The ONNX file.
        recipe: Name of a shipped recipe, or a path.
        names: Model, recipe and target as people call them.
        out: The bundle.
        folder: Where the compile runs.
        sets: Overrides, path -> value.
        data: Role (calibration, evaluation) -> samples.
        memory: Bytes that it may need, estimated.
    """

    model: Path
    recipe: str
    names: tuple[str, str, str]
    out: Path
    folder: Path
    sets: Mapping[str, Any]
    data: Mapping[str, Path]
    memory: int

    @property
    def label(self) -> str:
        """For messages."""
        return "/".join(self.names)

    def arguments(self) -> list[str]:
        """What follows ``tamis`` on the command line."""
        given = ["compile", str(self.model), "--recipe", self.recipe, "--out", str(self.out), "--json"]
        for role, path in self.data.items():
            given += [f"--{role}", str(path)]
        for path_, value in self.sets.items():
            given += ["--set", f"{path_}={json.dumps(value)}"]
        return given


@dataclass(frozen=True)
class Result:
    """What came of a job.

    Args:
        verdict: ``not run`` if the build ended before it.
        exit_code: Of ``tamis compile``; 5 if it crashed.
        reason: Why it failed, in one line.
        speedup, low, high: Paired ratio over the model as given, with its interval.
        faster: The verdict of that measurement.
        bytes: Size of the lowered model.
        drop: Loss of the metric.
        seconds: How long it took, standing still for others included.
        peak_bytes: Most memory that its process had.
    """

    verdict: Verdict
    exit_code: int = 0
    reason: str | None = None
    speedup: float | None = None
    low: float | None = None
    high: float | None = None
    faster: str | None = None
    bytes: int | None = None
    drop: float | None = None
    seconds: float = 0.0
    peak_bytes: int | None = None

    @property
    def good(self) -> bool:
        """Whether there is a bundle that meets its budgets."""
        return self.verdict in GOOD

    def to_dict(self, job: Job) -> dict[str, Any]:
        """With the names of its job, for ``--json``."""
        model, recipe, target = job.names
        return {"model": model, "recipe": recipe, "target": target, "out": str(job.out), **asdict(self)}


NOT_RUN = Result("not run", reason="the build ended before")
