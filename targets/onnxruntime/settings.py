"""Options of the runtime in a recipe, and the session settings that an artifact carries.

Left out on purpose: arena, memory pattern, pre-packing and parallel execution (no gain, or a loss, in our
measurements), and flushing denormal numbers to zero: ONNX Runtime sets it for the calling thread when the
first session of a process is made and never again, so a second session cannot be measured or verified
with another choice.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from tamis.compiler.target import RuntimeOptions
from tamis.targets.links.onnx_session import session_options
from tamis.targets.onnxruntime.providers import ProviderOptions

Spinning = Literal["always", "running", "never"]
GraphOptimization = Literal["off", "basic", "extended", "layout", "all"]
LEVELS: dict[GraphOptimization, str] = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
"""ONNX Runtime's names of the levels."""


class OnnxRuntimeOptions(ProviderOptions, RuntimeOptions):
    """What a recipe can fix; whatever it leaves open gets the default, or is tuned."""

    threads: int | None = Field(
        None, ge=1, le=1024, description="Threads of a node's kernel, the calling one included; default: the machine's."
    )
    spinning: Spinning | None = Field(
        None,
        description="How threads wait for work: 'running' spins only while a model runs, 'always' burns the CPU for "
        "a while after each call, 'never' sleeps and wakes up (for machines shared with others); default: running.",
    )
    graph_optimization: GraphOptimization | None = Field(
        None,
        description="How far ONNX Runtime rewrites the graph when it loads it; blocked layouts come with 'layout' "
        "and 'all'; default: all.",
    )
    fuse_matmul_add: bool | None = Field(
        None,
        description="Whether ONNX Runtime may make a MatMul and an Add, of known shapes, one Gemm between two Reshapes; "
        "default: true.",
    )
    fuse_skip_layer_norm: bool | None = Field(
        None,
        description="Whether ONNX Runtime may make an Add and a LayerNormalization one SkipLayerNormalization; "
        "default: true.",
    )

    @model_validator(mode="after")
    def _check_provider(self) -> Self:
        if wrong := self.misplaced():
            raise ValueError(wrong)
        return self


class Settings(ProviderOptions):
    """Everything that a session is opened with; fixed by options, tuned, or default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(ge=1, le=1024)
    spinning: Spinning = "running"
    graph_optimization: GraphOptimization = "all"
    fuse_matmul_add: bool = True
    fuse_skip_layer_norm: bool = True
    prepack: bool = True
    emulated_cpu: str | None = None
    """With link qemu: LLVM's name of the CPU to emulate."""

    def to_json(self) -> dict[str, JsonValue]:
        """As stored in an artifact."""
        return self.model_dump(mode="json", exclude={"prepack"}, exclude_none=True)

    def as_written(self) -> Settings:
        """For the reference: every node computed as it is written, without repacked copies of the weights."""
        return self.on_cpu().model_copy(update={"graph_optimization": "off", "prepack": False})

    def on_cpu(self) -> Settings:
        """The same without a GPU."""
        return self.model_copy(update=dict.fromkeys(ProviderOptions.model_fields))

    def session_data(self) -> dict[str, JsonValue]:
        """The session options as plain data, for ``session_options`` of ``tamis.targets.links.onnx_session``."""
        entries: dict[str, JsonValue] = {
            "session.intra_op.allow_spinning": _flag(self.spinning != "never"),
            "session.force_spinning_stop": _flag(self.spinning == "running"),
            "session.disable_prepacking": _flag(not self.prepack),
        }
        # left to itself, ONNX Runtime quantizes float weights of a layer that a recipe keeps in floats between Q and DQ
        unwanted = {
            "WeightBiasQuantization": True,
            "MatMulAddFusion": not self.fuse_matmul_add,
            "SkipLayerNormFusion": not self.fuse_skip_layer_norm,
        }
        if names := [name for name, off in unwanted.items() if off]:
            entries["optimization.disable_specified_optimizers"] = ";".join(names)
        return {"threads": self.threads, "graph_optimization": LEVELS[self.graph_optimization], "entries": entries}

    def session_options(self, ort: Any) -> Any:
        """The ``onnxruntime.SessionOptions``, silent and sequential.

        Args:
            ort: The module ``onnxruntime``.
        """
        return session_options(ort, self.session_data())


def _flag(on: bool) -> str:
    return "1" if on else "0"
