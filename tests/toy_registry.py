"""Passes, a runtime and machines for tests of the recipe, independent of the real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import onnx_ir as ir
import pytest
from pydantic import Field, JsonValue

from tamis.compiler import registry
from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Stage
from tamis.compiler.machine_data import Machine
from tamis.compiler.target import Artifact, Runner, Runtime, RuntimeOptions
from tamis.compiler.tuning_database import TuningDatabase


class ToyPass(GraphPass[PassOptions]):
    """Does nothing and has no options of its own."""

    name = "canonicalize"
    stage = Stage.CANONICALIZE
    contract = Contract.EXACT

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        return PassResult(model, modified=False)


class ToyOptions(PassOptions):
    """One option of each kind."""

    weights: Literal["int8", "uint8"] = Field("int8", description="Type of the weights.")
    ratio: float = Field(0.5, ge=0, le=1, description="Share.")
    channels: tuple[int, ...] = Field((), description="Channels.")
    note: str | None = Field("none", description="Text that may be unset.")
    symmetric: bool = Field(False, description="A switch.")


class ToyQuantize(GraphPass[ToyOptions]):
    """Does nothing and has options."""

    name = "quantize-dynamic"
    stage = Stage.QUANTIZE
    contract = Contract.LOSSY
    options_type: ClassVar[type[PassOptions]] = ToyOptions

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        return PassResult(model, modified=False)


class ToyRuntimeOptions(RuntimeOptions):
    """One option."""

    threads: int = Field(1, ge=1, description="Threads.")


class ToyRuntime(Runtime[ToyRuntimeOptions]):
    """Runs nothing."""

    name = "onnxruntime"
    options_type = ToyRuntimeOptions

    def unavailable(self, machine: Machine) -> str | None:
        return "it is a toy"

    def fingerprint(self, machine: Machine) -> dict[str, str]:
        return {}

    def unsupported(self, model: ir.Model, machine: Machine) -> list[str]:
        return []

    def lower(
        self,
        model: ir.Model,
        folder: Path,
        machine: Machine,
        settings: Mapping[str, JsonValue],
        database: TuningDatabase,
    ) -> Artifact:
        raise NotImplementedError

    def load(self, folder: Path, artifact: Artifact) -> Runner:
        raise NotImplementedError

    def load_model(self, model: ir.Model, *, optimize: bool = True, threads: int | None = None) -> Runner:
        raise NotImplementedError


PASSES = {
    "canonicalize": "tests.toy_registry:ToyPass",
    "fold-conv-affine": "tests.toy_registry:ToyPass",
    "quantize-dynamic": "tests.toy_registry:ToyQuantize",
}
MACHINES = ("cortex-a72", "x86-64-avx2")


@pytest.fixture
def toys() -> Iterator[None]:
    """Only the toys are registered."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        yield
    registry.table.cache_clear()


def install(patch: pytest.MonkeyPatch) -> None:
    """Register the toys, and only them."""
    patch.setitem(registry.TABLE, "passes", PASSES)
    patch.setitem(registry.GROUPS, "fuse", ("fold-conv-affine",))
    patch.setitem(registry.TABLE, "targets", {"onnxruntime": "tests.toy_registry:ToyRuntime"})
    patch.setattr(registry, "machine_names", lambda: MACHINES)
    registry.table.cache_clear()


def write(folder: Path, name: str, lines: Sequence[str] | str) -> Path:
    """A recipe file."""
    path = folder / name
    path.write_text(lines if isinstance(lines, str) else "\n".join(lines) + "\n", encoding="utf-8")
    return path


def options(**changed: Any) -> dict[str, Any]:
    """The options of ``ToyQuantize`` with defaults filled in."""
    defaults = {"on_violation": "error", "guard": "measure", **ToyOptions().model_dump(mode="json")}
    return {**defaults, **changed}
