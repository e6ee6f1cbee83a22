"""The manifest of a bundle (``bundle.json``): what was compiled, how, for which machine, and what was proven.

Everything in it is a function of the inputs, the versions and the tuning database, so that the same
build gives the same bytes. What varies from run to run (times) is in ``measurements.json``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tamis.compiler.link import Link
from tamis.compiler.machine_data import Machine

if TYPE_CHECKING:
    from tamis.compiler.graph_pass import Detail, Skip

NODES_NAMED = 3
"""How many nodes of a skip reason are named in the manifest."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Data):
    """A file that the build read or wrote."""

    sha256: str
    bytes: int = Field(ge=0)


class SkipRecord(_Data):
    """Places that a pass left alone for the same reason."""

    reason: str
    count: int
    nodes: tuple[str, ...] = Field(description="The first few of them.")


def skip_records(skips: Iterable[Skip]) -> tuple[SkipRecord, ...]:
    """Skips of a pass by reason, sorted."""
    nodes: dict[str, list[str]] = {}
    for skip in skips:
        nodes.setdefault(skip.reason, []).append(skip.node)
    return tuple(
        SkipRecord(reason=reason, count=len(found), nodes=tuple(found[:NODES_NAMED]))
        for reason, found in sorted(nodes.items())
    )


class DetailRecord(_Data):
    """What one place got and why."""

    place: str
    got: str
    why: str
    figures: dict[str, float] = Field(description="What it rests on, to three digits.")


def detail_records(details: Iterable[Detail]) -> tuple[DetailRecord, ...]:
    """Details of a pass in its order."""
    return tuple(
        DetailRecord(place=d.place, got=d.got, why=d.why, figures={k: float(f"{v:.3g}") for k, v in d.figures.items()})
        for d in details
    )


class StepRecord(_Data):
    """What one step did and how it was judged."""

    name: str
    contract: Literal["exact", "close", "lossy"]
    verdict: Literal["kept", "unchanged", "undone"]
    reason: str | None = Field(None, description="Why the step was undone, or what it fell short of.")
    counts: dict[str, int] = Field(default_factory=dict)
    skips: tuple[SkipRecord, ...] = ()
    details: tuple[DetailRecord, ...] = Field((), description="Of a step that decides place by place.")
    nodes_before: int
    nodes_after: int
    tolerance_needed: float | None = Field(
        None, description="Largest normwise relative error on the user's samples; steps that are not lossy."
    )
    adversarial_needed: float | None = Field(None, description="The same on the adversarial inputs.")
    sqnr_db: float | None = Field(None, description="Outputs against the model as given, dB; lossy steps.")
    metric: float | None = Field(None, description="Task metric after the step; lossy steps with labelled data.")


class AccuracyRecord(_Data):
    """The task metric of the model as given and of the lowered model, on the evaluation data."""

    metric: str
    samples: int
    before: float
    after: float
    drop: float = Field(description="Loss of the metric; positive is worse.")


class TargetRecord(_Data):
    """The machine and runtime that the bundle is for."""

    name: str
    machine: Machine
    runtime: str
    options: dict[str, JsonValue]
    settings: dict[str, JsonValue] = Field(description="Runtime settings, tuned or default.")
    fingerprint: dict[str, str]
    link: Link = Field(description="How the machine was reached.")
    executed: bool = Field(description="Whether the lowered model was run, on the machine or emulated.")
    note: str | None = Field(None, description="Why this runtime was chosen, if the recipe left it open.")
    notes: tuple[str, ...] = Field((), description="What the runtime says of how it lowered the model.")


class InputRecord(_Data):
    """One graph input."""

    dtype: str
    shape: tuple[int | str, ...]


class GoldenRecord(_Data):
    """How ``golden.npz`` is to be reproduced."""

    cases: int
    tolerances: dict[str, float] = Field(description="Output name -> largest normwise relative error allowed.")


class Manifest(_Data):
    """The whole of ``bundle.json``."""

    format: Literal[1] = 1
    tamis: str = Field(description="Version of tamis that made the bundle.")
    model: str = Field(description="File name of the model as given.")
    source: dict[str, str] = Field(description="What was read (model file, model content, data) -> SHA-256.")
    recipe: dict[str, JsonValue] = Field(description="The resolved recipe; can be compiled again.")
    target: TargetRecord
    inputs: dict[str, InputRecord]
    dims: dict[str, tuple[int, int]]
    outputs: tuple[str, ...]
    steps: tuple[StepRecord, ...]
    drift: float | None = Field(
        description="Largest normwise relative error of the lowered model on the user's samples."
    )
    sqnr_db: float | None = Field(description="Outputs of the lowered model against the model as given, dB.")
    accuracy: AccuracyRecord | None
    golden: GoldenRecord
    artifact: tuple[str, ...] = Field(description="Files of the lowered model, the model first.")
    files: dict[str, FileRecord] = Field(description="All files of the bundle but bundle.json and measurements.json.")
    versions: dict[str, str] = Field(description="Versions of everything that can change the result.")

    def to_json(self) -> str:
        """Canonical text: sorted keys, two spaces, final newline."""
        import json

        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
