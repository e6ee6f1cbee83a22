"""The recipe as data: what to do to a model, for which machines, within which budgets.

These models are the whole format; ``recipes/recipe.schema.json`` is generated from them. Reading YAML
(positions, ``extends``, ``--set``) is in ``recipe_file``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

SCHEMA_VERSION = 1
FILE_KINDS = ("npz", "folder", "images", "csv")
SOURCE_KINDS = (*FILE_KINDS, "dataset")
MAX_SIZE = 2**31 - 1
AUTO = "auto"
"""The runtime that stands for the fastest one of the machine."""


DIMENSION_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _dimension(value: object) -> object:
    named = isinstance(value, str) and bool(re.match(DIMENSION_NAME, value)) and value not in ("shape", "range")
    sized = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIZE
    if not named and not sized:
        raise PydanticCustomError(
            "dimension", "a size of at least 1, or a name of letters, digits and _ other than 'shape' and 'range'"
        )
    return value


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise PydanticCustomError("ordered", "the smallest value first, then the largest")
    return pair


Dimension = Annotated[
    Annotated[int, Field(ge=1, le=MAX_SIZE)] | Annotated[str, Field(pattern=DIMENSION_NAME)],
    BeforeValidator(_dimension),
]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
SizeRange = Annotated[tuple[Size, Size], AfterValidator(_ordered)]
ValueRange = Annotated[tuple[float, float], AfterValidator(_ordered)]
Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Placed(_Section):
    """An entry of a list that remembers where it stands; the position takes no part in comparisons."""

    where: str = Field("", exclude=True, description="file:line:column, for messages.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]


class InputSection(BaseModel):
    """One graph input. Further keys give the range of the dynamic dimensions named in ``shape``, e.g. ``N: [1, 8]``.

    A dimension that several inputs share is given its range at one of them.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, SizeRange]

    shape: tuple[Dimension, ...] = Field(description="Sizes; a name stands for a dynamic dimension.")
    range: ValueRange | None = Field(None, description="Smallest and largest legal value, for indices.")

    @property
    def dims(self) -> dict[str, tuple[int, int]]:
        """Name of a dynamic dimension -> (smallest, largest) size, as given at this input."""
        return dict(self.__pydantic_extra__)


class DataSource(_Section):
    """Where samples come from; exactly one of npz, folder, images, csv, dataset."""

    npz: str | None = Field(None, description="An .npz file: one array per input, samples along axis 0.")
    folder: str | None = Field(None, description="A folder of .npz files (one a sample) or .npy files (single input).")
    images: str | None = Field(None, description="A folder of images (single input).")
    csv: str | None = Field(None, description="A CSV file of image file,label (single input).")
    dataset: str | None = Field(None, description="Name of an installed data-set entry point.")
    samples: int | None = Field(None, ge=1, description="Use only the first so many samples.")
    mean: Annotated[tuple[float, ...], Field(min_length=1, max_length=3)] = Field(
        (0.0,), description="images, csv: subtracted from pixels in 0..255, one for all channels or one a channel."
    )
    scale: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)] = Field(
        (255.0,), description="images, csv: pixels are then divided by this, one for all channels or one a channel."
    )
    metric: str | None = Field(None, description="Task metric computed from the labels.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [kind for kind in SOURCE_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise PydanticCustomError("one_source", "exactly one of " + ", ".join(SOURCE_KINDS))
        return self


class DataSection(_Section):
    """Samples: ``calibration`` without labels for passes and verification, ``evaluation`` with labels for the metric."""

    calibration: DataSource | None = None
    evaluation: DataSource | None = None


class TuneSection(_Section):
    """How long a target may search for its settings and schedules; the first limit that is reached ends it."""

    seconds: float | None = Field(
        None,
        gt=0,
        description="Time budget of the search, seconds; default: the runtime's (onnxruntime: 20, tvm: none).",
    )
    trials: int | None = Field(
        None,
        ge=1,
        description="Runtime tvm: schedules measured for each kernel, those of earlier searches included; default: 64.",
    )


class RpcLink(_Section):
    """A device that serves TVM's RPC (``tamis device serve``)."""

    rpc: str = Field(
        pattern=r"^[^:\s]+:[0-9]{1,5}$", description="host:port of the device, or of the tracker if 'key' is given."
    )
    key: str | None = Field(None, min_length=1, description="What the tracker calls the device.")


class Step(_Placed):
    """One step: a pass with all its options (defaults filled in)."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class TargetSection(_Placed):
    """One machine to compile for."""

    machine: str = Field(description="Name of a machine; 'host' is detected.")
    runtime: str | None = Field(
        None, description="Runtime, or 'auto' for the fastest; by default the machine's preferred one."
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="Name of the bundle folder when there are several targets.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the runtime; with 'auto', of each by its name."
    )
    tune: TuneSection | None = Field(None, description="Search the runtime's settings.")
    link: Literal["here", "qemu", "none"] | RpcLink | None = Field(
        None,
        description="How the machine is reached: 'here' (the default), 'qemu' (emulated; times mean nothing), "
        "'none' (compile only), or {rpc: host:port, key: NAME}.",
    )
    passes: tuple[Step, ...] | None = Field(None, description="Steps for this target instead of the recipe's.")

    @property
    def label(self) -> str:
        """The target's name, by default made of machine and runtime. Unique in a recipe."""
        return self.name or (f"{self.machine}-{self.runtime}" if self.runtime else self.machine)


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
