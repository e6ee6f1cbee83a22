"""Options of the runtime in a recipe, and the settings that an artifact carries."""

from __future__ import annotations

from typing import Any, Literal

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tamis.compiler.target import RuntimeOptions

Layout = Literal["nchw", "nhwc"]
Weights = Literal["embedded", "beside"]
Fallback = Literal["error", "onnxruntime"]


class TvmOptions(RuntimeOptions):
    """What a recipe can fix; whatever it leaves open gets the default, or is tuned."""

    threads: int | None = Field(
        None, ge=1, le=1024, description="Threads of a kernel, the calling one included; default: the machine's."
    )
    layout: Layout | None = Field(
        None,
        description="Layout of convolutions; if it is left open, tuning tries both, and without tuning it follows from "
        "the model: nhwc for dense convolutions, else what fills vector registers better.",
    )
    prepack: bool | None = Field(
        None, description="Whether weights are stored in the order in which tuned kernels read them; default: true."
    )
    weights: Weights = Field(
        "embedded",
        description="Where weights go: into the library, or into weights.npz beside it, which takes less memory and time "
        "to build if they are large. Not for GPUs.",
    )
    fallback: Fallback = Field(
        "error",
        description="What to do with a model that TVM cannot compile: fail, or use onnxruntime and say so in the report.",
    )


class TensorSpec(BaseModel):
    """An input of the lowered model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Settings(BaseModel):
    """How a model is compiled, and what the library needs to be called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(ge=1, le=1024)
    layout: Layout | None = None
    prepack: bool = True
    weights: Weights = "embedded"
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    emulated_cpu: str | None = None
    gpu: str | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """As stored in an artifact."""
        return self.model_dump(mode="json")


def input_specs(model: ir.Model) -> list[dict[str, Any]]:
    """The inputs that must be fed, as ``TensorSpec`` data."""
    found = []
    for value in model.graph.inputs:
        if value.name in model.graph.initializers:
            continue
        assert value.shape is not None and value.dtype is not None and value.name is not None
        shape = tuple(d if isinstance(d, int) else str(d.value) for d in value.shape)
        found.append(TensorSpec(name=value.name, dtype=value.dtype.numpy().name, shape=shape).model_dump())
    return found
