"""The recipe as data: what to do to a model, for which machines, within which budgets.

These models are the whole format; ``recipes/recipe.schema.json`` is generated from them. Reading YAML
(positions, ``extends``, ``--set``) is in ``recipe_file``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSection(BaseModel):
    """One graph input. Further keys give the range of the dynamic dimensions named in ``shape``, e.g. ``N: [1, 8]``."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, tuple[int, int]]

    shape: tuple[int | str, ...] = Field(description="Sizes; a name stands for a dynamic dimension.")
    range: tuple[float, float] | None = Field(None, description="Smallest and largest legal value, for indices.")


class DataSource(_Section):
    """Where samples come from; exactly one of npz, folder, images, csv, dataset."""

    npz: str | None = Field(None, description="An .npz file: one array per input, samples along axis 0.")
    folder: str | None = Field(None, description="A folder of .npz files (one a sample) or .npy files (single input).")
    images: str | None = Field(None, description="A folder of images (single input).")
    csv: str | None = Field(None, description="A CSV file of image file,label (single input).")
    dataset: str | None = Field(None, description="Name of an installed data-set entry point.")
    samples: int | None = Field(None, ge=1, description="Use only the first so many samples.")
    mean: tuple[float, ...] = Field((0.0,), description="images, csv: subtracted from pixels in 0..255, per channel.")
    scale: tuple[float, ...] = Field((255.0,), description="images, csv: pixels are then divided by this, per channel.")
    metric: str | None = Field(None, description="Task metric computed from the labels.")


class DataSection(_Section):
    """Samples: ``calibration`` without labels for passes and verification, ``evaluation`` with labels for the metric."""

    calibration: DataSource | None = None
    evaluation: DataSource | None = None


class TuneSection(_Section):
    """How long a target may search for its settings."""

    seconds: float = Field(20.0, gt=0, description="Time budget of the search, seconds.")


class Step(_Section):
    """One step: a pass with all its options (defaults filled in)."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    where: str = Field("", exclude=True, description="file:line:column, for messages.")


class TargetSection(_Section):
    """One machine to compile for."""

    machine: str = Field(description="Name of a machine; 'host' is detected.")
    runtime: str | None = Field(None, description="Runtime; by default the machine's preferred one.")
    name: str | None = Field(None, description="Name of the bundle folder when there are several targets.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the runtime.")
    tune: TuneSection | None = Field(None, description="Search the runtime's settings.")
    passes: tuple[Step, ...] | None = Field(None, description="Steps for this target instead of the recipe's.")
    where: str = Field("", exclude=True)


class AccuracyBudget(_Section):
    """Limits on what lossy steps may cost; compared with the model as given."""

    max_drop: float | None = Field(None, ge=0, description="Largest loss of the evaluation metric, absolute.")
    min_sqnr: float | None = Field(None, description="Smallest signal-to-noise ratio of the outputs, dB.")


class LatencyBudget(_Section):
    """Limits on run time, measured on the target with the first calibration sample."""

    max_ms: float | None = Field(None, gt=0, description="Largest latency, milliseconds.")
    p: float = Field(50, gt=0, lt=100, description="Percentile of the samples that must meet max_ms.")
    min_speedup: float | None = Field(None, gt=0, description="Smallest paired ratio over the model as given.")


class SizeBudget(_Section):
    """Limits on the size of the shipped files."""

    max_mb: float | None = Field(None, gt=0, description="Largest size of the lowered model, MB of 1,000,000 bytes.")


class Budget(_Section):
    """What must hold at the end, or the compile fails with exit code 1."""

    accuracy: AccuracyBudget | None = None
    latency: LatencyBudget | None = None
    size: SizeBudget | None = None


class Recipe(_Section):
    """A resolved recipe: ``extends`` merged, ``--set`` applied, every default filled in."""

    version: Literal[1] = Field(description="Version of the recipe format.")
    model: str | None = Field(None, description="Path of the ONNX model, relative to the recipe.")
    inputs: dict[str, InputSection] = Field(default_factory=dict, description="Shapes and ranges of the graph inputs.")
    data: DataSection = Field(default_factory=DataSection, description="Samples.")
    passes: tuple[Step, ...] = Field(description="The steps, in order; a pass may occur more than once.")
    targets: Annotated[tuple[TargetSection, ...], Field(min_length=1)] = Field(
        (TargetSection(machine="host"),), description="Machines to compile for."
    )
    budget: Budget = Field(default_factory=Budget, description="Limits that the result must meet.")
    seed: int = Field(0, ge=0, description="Seed of every random draw.")
