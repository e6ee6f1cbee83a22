"""The contract of a target: machine (data) x runtime (code) x link (how it is reached).

Behaviour follows the machine's description, never its name: a pass that wants to know whether 8-bit
products saturate asks ``target.machine.int8``, not whether the machine is called ``x86-64-avx2``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, JsonValue

from tamis.compiler.graph_pass import Feeds, GraphPass
from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.link import HERE, Link
from tamis.compiler.loader.loader_source import LoaderSource
from tamis.compiler.machine_data import Machine
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.weight_kernels import WeightKernels


class RuntimeOptions(BaseModel):
    """Options of a runtime in the recipe's target entry; a runtime derives its own model."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Artifact:
    """A lowered model on disk.

    Args:
        runtime: Name of the runtime that made it and can load it.
        files: Paths relative to the bundle folder; the first one is the model.
        settings: Runtime settings (for example tuned session options) as plain JSON data.
        notes: What people should know of how the model was lowered, a clause each.
    """

    runtime: str
    files: tuple[str, ...]
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Runner(Protocol):
    """A loaded model: call it with a dict of arrays, get a dict of arrays."""

    @property
    def input_names(self) -> Sequence[str]:
        """Names of the inputs that must be fed, in graph order."""
        ...

    @property
    def output_names(self) -> Sequence[str]:
        """Names of the outputs, in graph order."""
        ...

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        """Run once. Raises ``RuntimeFailureError`` when the runtime refuses the inputs."""
        ...


@dataclass(frozen=True)
class TuneBudget:
    """How long a search may go on; whichever limit is reached first ends it. None: the runtime's default.

    Args:
        seconds: Wall time.
        trials: Candidates measured for each kernel, those of earlier searches included.
    """

    seconds: float | None = None
    trials: int | None = None


@dataclass(frozen=True)
class TuneResult:
    """Outcome of a search over runtime settings.

    Args:
        settings: The best settings found, as stored in the artifact.
        record: What was measured: trials, ratios with intervals, seconds; goes to measurements.
    """

    settings: Mapping[str, JsonValue]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class NodeTime:
    """Time of one kernel, which may compute several nodes of the model.

    Args:
        op_type: The runtime's name of the kernel; ``layout change`` for what it adds to convert between layouts.
        nanoseconds: Time of one run of the model spent in it.
        covers: Names of the nodes that it computes, in the model's order; none if the runtime added it.
    """

    op_type: str
    nanoseconds: float
    covers: tuple[str, ...]


RuntimeOptionsT = TypeVar("RuntimeOptionsT", bound=RuntimeOptions)


class Runtime(ABC, Generic[RuntimeOptionsT]):
    """Base class of all runtimes. Heavy imports happen inside methods."""

    name: ClassVar[str]
    options_type: ClassVar[type[RuntimeOptions]] = RuntimeOptions
    measures_steps: ClassVar[bool] = True
    """Whether ``load_model`` is fast at what the finished artifact is fast at, so that the guard can judge single steps.
    False for compilers whose schedules are tuned after the last step."""

    def __init__(self, options: RuntimeOptionsT | None = None, link: Link = HERE) -> None:
        self.options: RuntimeOptionsT = options if options is not None else self.options_type()  # type: ignore[assignment]
        self.link = link

    @property
    def fallback(self) -> str | None:
        """The runtime that the recipe lets take over if the model cannot be lowered."""
        return None

    @abstractmethod
    def unavailable(self, machine: Machine) -> str | None:
        """Why models for ``machine`` cannot be run from here with this runtime, with the install hint; None if they can."""

    @abstractmethod
    def fingerprint(self, machine: Machine) -> dict[str, str]:
        """What a measurement depends on: device, features, thread count, library versions. Plain strings, stable order."""

    @abstractmethod
    def unsupported(self, model: ir.Model, machine: Machine) -> list[str]:
        """One line per node that the runtime cannot run: node name, op type, domain and reason. Empty if all is well."""

    def legalize_passes(self, machine: Machine) -> Sequence[GraphPass[Any]]:
        """Passes that put the model into the forms this runtime likes; run after the recipe's steps."""
        return ()

    def channel_multiple(self, machine: Machine) -> int:
        """Channels that its float32 kernels take at once: narrower tensors save time in multiples of it only."""
        return machine.channel_multiple

    def int8_kernels(self, machine: Machine) -> Int8Kernels | None:
        """Which operators are computed in 8-bit integers between Q and DQ; None if the runtime has no such kernels."""
        return None

    def optimized_model(self, model: ir.Model, machine: Machine | None = None) -> ir.Model | None:
        """The graph that is executed after the runtime's own optimizations; None if it does not tell.

        Args:
            model: Left as it is.
            machine: Where it is executed, as far as that can be told from here; None for the machine at hand.
        """
        return None

    def optimized_operators(self, model: ir.Model) -> dict[str, int] | None:
        """How often each operator, ``domain::name``, is in the graph that is executed; None if the runtime does not tell."""
        optimized = self.optimized_model(model)
        if optimized is None:
            return None
        return dict(Counter("::".join(filter(None, (n.domain, n.op_type))) for n in optimized.graph.all_nodes()))

    def weight_kernels(self, machine: Machine) -> WeightKernels | None:
        """Its kernels for weights of few bits; None if it has none of its own and must be given standard operators."""
        return None

    @abstractmethod
    def lower(
        self,
        model: ir.Model,
        folder: Path,
        machine: Machine,
        settings: Mapping[str, JsonValue],
        database: TuningDatabase,
    ) -> Artifact:
        """Write the lowered model into ``folder``. Deterministic: same model, settings and records, same bytes."""

    @abstractmethod
    def load(self, folder: Path, artifact: Artifact) -> Runner:
        """Load an artifact of this runtime from its folder, in a process of its own if it could crash this one.

        Raises:
            LoweringError: The artifact cannot be loaded.
        """

    def deploy(self, folder: Path, artifact: Artifact) -> Runner:
        """Load an artifact into this process, as an application does."""
        return self.load(folder, artifact)

    @classmethod
    def loader_source(cls, artifact: Artifact) -> LoaderSource | None:
        """How a loader without tamis opens ``artifact``; None if it cannot. The same artifact gives the same text."""
        return None

    @abstractmethod
    def load_model(self, model: ir.Model, *, optimize: bool = True) -> Runner:
        """Load a model straight from memory, for verification and the guard.

        ``optimize=False`` switches all graph optimizations of the runtime off, so that each node is
        computed as it is written.
        """

    def stand_in(
        self, model: ir.Model, machine: Machine, settings: Mapping[str, JsonValue], database: TuningDatabase
    ) -> Runner:
        """What computes on this machine the same as the artifact does on its own, for links that execute nothing."""
        return self.load_model(model)

    def default_settings(self, machine: Machine) -> dict[str, JsonValue]:
        """Settings used without tuning."""
        return {}

    def tune(
        self,
        model: ir.Model,
        feeds: Feeds,
        machine: Machine,
        budget: TuneBudget,
        database: TuningDatabase,
        progress: Callable[[float, str], None],
    ) -> TuneResult:
        """Search settings, and schedules if the runtime has any, within ``budget``.

        Schedules are stored in ``database`` as they are found, so that an interrupted search loses little;
        progress gets (fraction done, best so far).
        """
        raise NotImplementedError(f"runtime {self.name} has nothing to tune")

    def profile(
        self,
        model: ir.Model,
        feeds: Feeds,
        machine: Machine,
        seconds: float,
        progress: Callable[[float, str], None],
        *,
        optimize: bool = True,
    ) -> list[NodeTime]:
        """Time each kernel of the model, in the order of execution.

        Args:
            model: Its nodes have unique names; it is left as it is.
            feeds: What to run.
            machine: Whose default settings to use.
            seconds: How long to run for.
            progress: Gets (fraction done, a note).
            optimize: False computes each node as it is written.
        """
        raise NotImplementedError(f"runtime {self.name} cannot time single nodes")


@dataclass(frozen=True)
class Target:
    """One entry of the recipe's ``targets``: a machine, a runtime with its options, a link.

    ``name`` is unique in a recipe and names the bundle's sub-folder.
    """

    name: str
    machine: Machine
    runtime: Runtime[Any]

    @property
    def link(self) -> Link:
        """How the machine is reached."""
        return self.runtime.link
