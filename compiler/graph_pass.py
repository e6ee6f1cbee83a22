"""The contract of a pass: what it may assume, what it must do, and what it promises about the numbers.

A pass is one class in one file. The pipeline calls ``pass_(model, context)``, which runs
``requires`` -> ``call`` -> ``ensures``; between passes it checks the IR and holds the pass to its
numeric contract. A pass keeps no state between calls, does no I/O and draws randomness only from
``context.seed``.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, Field

from tamis.compiler.errors import PostconditionError, PreconditionError

if TYPE_CHECKING:
    from tamis.compiler.input_spec import InputSpec
    from tamis.compiler.judge import Judge
    from tamis.compiler.target import Target

Feeds = Mapping[str, np.ndarray[Any, Any]]
"""One sample: input name -> array."""


class Contract(enum.StrEnum):
    """What a pass promises about the numbers."""

    EXACT = "exact"
    """Same bits on the same kernels."""
    CLOSE = "close"
    """Same function; only the order of floating-point operations differs."""
    LOSSY = "lossy"
    """Changes the function on purpose; the recipe's accuracy budget is the judge."""


class Stage(enum.StrEnum):
    """Where in a recipe a pass belongs; the order of the members is the usual order of steps."""

    CANONICALIZE = "canonicalize"
    FUSE = "fuse"
    PRUNE = "prune"
    QUANTIZE = "quantize"
    LAYOUT = "layout"


class PassOptions(BaseModel):
    """Options that every pass has. A pass derives its own options model from this one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_violation: Literal["error", "skip"] = Field(
        "error",
        description="When the pass breaks its contract: stop with an error, or undo it, record why and go on.",
    )
    guard: Literal["measure", "off"] = Field(
        "measure",
        description="For speed-motivated passes: keep the step only if a paired measurement on the target shows "
        "a gain beyond noise ('measure'), or keep it whatever its speed ('off').",
    )


@dataclass(frozen=True)
class Skip:
    """A place that a pass left alone on purpose.

    Args:
        reason: Why, in a few words without the node's name, so that equal reasons can be counted.
        node: Name of the node, or of the value where there is no node.
    """

    reason: str
    node: str


@dataclass(frozen=True)
class Detail:
    """What one place got of several that it might have got.

    Args:
        place: Name of the node, or of the value where there is no node.
        got: In a word, e.g. ``int8``.
        why: Without the place's name, so that equal reasons can be counted.
        figures: What it rests on; units belong into the names.
    """

    place: str
    got: str
    why: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PassResult:
    """What a pass did.

    Args:
        model: The model; the same object that was given, changed in place.
        modified: True exactly if anything changed. The pipeline checks a False.
        counts: What was done how often, e.g. ``{"folded": 12}``; zero counts may be left out.
        skips: Candidates that were left alone, each with its reason.
        details: Of a pass that decides place by place: each with what it got and why.
        missed: Of a pass with a goal that it did not reach: what was wanted and what it got. The step stays, and the
            compile ends as with a missed budget.
    """

    model: ir.Model
    modified: bool
    counts: Mapping[str, int] = field(default_factory=dict)
    skips: tuple[Skip, ...] = ()
    details: tuple[Detail, ...] = ()
    missed: str | None = None


@dataclass(frozen=True)
class PassContext:
    """What a pass may know besides the model.

    Args:
        inputs: Names, dtypes and shapes of the graph inputs as the recipe fixes them.
        target: Machine and runtime that the model is compiled for; None outside a compile.
        samples: Gives a fresh iterator over the calibration samples; None if the recipe has none.
        seed: Seed of every random draw.
        judge: Tells accuracy and speed of a candidate; None outside a compile.
    """

    inputs: InputSpec | None = None
    target: Target | None = None
    samples: Callable[[], Iterator[Feeds]] | None = None
    seed: int = 0
    judge: Judge | None = None


OptionsT = TypeVar("OptionsT", bound=PassOptions)


class GraphPass(ABC, Generic[OptionsT]):
    """Base class of all passes.

    Invariant: valid IR in, valid IR out; names of graph inputs and outputs are preserved.

    A subclass sets the class variables, implements ``call`` and, where it has conditions,
    ``requires`` and ``ensures``. Its docstring has the sections *Match*, *Rewrite*, *Preserves* and
    *References*; the docs page of the pass is made from it and from the options model.

    Raises:
        PreconditionError: ``requires`` found that the model lacks something.
        PostconditionError: ``ensures`` found that the result is not as promised.
    """

    name: ClassVar[str]
    """Kebab-case; equals the file name and the class name."""
    stage: ClassVar[Stage]
    contract: ClassVar[Contract]
    speed_motivated: ClassVar[bool] = False
    """True if the only reason for the pass is speed, so that the latency guard may undo it."""
    needs_samples: ClassVar[bool] = False
    """True if the pass cannot do anything without calibration samples: a recipe without any is then refused at once."""
    options_type: ClassVar[type[PassOptions]] = PassOptions

    def __init__(self, options: OptionsT | None = None) -> None:
        self.options: OptionsT = options if options is not None else self.options_type()  # type: ignore[assignment]

    def wants_samples(self) -> bool:
        """Whether this step, with its options, cannot do anything without calibration samples."""
        return self.needs_samples

    def requires(self, model: ir.Model, context: PassContext) -> None:
        """Cheap checks; raise through ``self.refuse`` when the model lacks what the pass needs."""

    @abstractmethod
    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        """Find, decide, rewrite ``model`` in place; say what was done and what was left alone."""

    def ensures(self, model: ir.Model, context: PassContext) -> None:
        """What must hold afterwards; raise ``PostconditionError`` otherwise."""

    def near_misses(self, model: ir.Model, context: PassContext) -> tuple[Skip, ...]:
        """Places that the pass almost changed, each with the reason; ``model`` is left as it is."""
        return self(model.clone(), context).skips

    def refuse(
        self, message: str, *, expected: str | None = None, found: str | None = None, fix: str
    ) -> PreconditionError:
        """A ``PreconditionError`` that names this pass; use as ``raise self.refuse(...)``."""
        return PreconditionError(message, where=f"pass {self.name}", expected=expected, found=found, fix=fix)

    def __call__(self, model: ir.Model, context: PassContext | None = None) -> PassResult:
        context = context or PassContext()
        self.requires(model, context)
        result = self.call(model, context)
        if result.model is not model:
            raise PostconditionError(
                "returned another model object",
                where=f"pass {self.name}",
                expected="the given model, changed in place",
                fix="report this defect of the pass",
            )
        self.ensures(model, context)
        return result
