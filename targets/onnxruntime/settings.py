"""Options of the runtime in a recipe, and the session settings that an artifact carries.

Left out on purpose: arena, memory pattern, pre-packing and parallel execution (no gain, or a loss, in our
measurements), and flushing denormal numbers to zero: ONNX Runtime sets it for the calling thread when the
first session of a process is made and never again, so a second session cannot be measured or verified
with another choice.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tamis.compiler.target import RuntimeOptions

Spinning = Literal["always", "running", "never"]
GraphOptimization = Literal["off", "basic", "extended", "layout", "all"]


class OnnxRuntimeOptions(RuntimeOptions):
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


class Settings(BaseModel):
    """Everything that a session is opened with; fixed by options, tuned, or default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(ge=1, le=1024)
    spinning: Spinning = "running"
    graph_optimization: GraphOptimization = "all"
    fuse_matmul_add: bool = True
    fuse_skip_layer_norm: bool = True
    prepack: bool = True

    def to_json(self) -> dict[str, JsonValue]:
        """As stored in an artifact."""
        return self.model_dump(mode="json", exclude={"prepack"})

    def as_written(self) -> Settings:
        """For the reference: every node computed as it is written, without repacked copies of the weights."""
        return self.model_copy(update={"graph_optimization": "off", "prepack": False})

    def session_options(self, ort: Any) -> Any:
        """The ``onnxruntime.SessionOptions``, silent and sequential.

        Args:
            ort: The module ``onnxruntime``.
        """
        levels = ort.GraphOptimizationLevel
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = {
            "off": levels.ORT_DISABLE_ALL,
            "basic": levels.ORT_ENABLE_BASIC,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "layout": levels.ORT_ENABLE_LAYOUT,
            "all": levels.ORT_ENABLE_ALL,
        }[self.graph_optimization]
        entries = {
            "session.intra_op.allow_spinning": self.spinning != "never",
            "session.force_spinning_stop": self.spinning == "running",
            "session.disable_prepacking": not self.prepack,
        }
        for key, on in entries.items():
            options.add_session_config_entry(key, "1" if on else "0")
        unwanted = {"MatMulAddFusion": not self.fuse_matmul_add, "SkipLayerNormFusion": not self.fuse_skip_layer_norm}
        if names := [name for name, off in unwanted.items() if off]:
            options.add_session_config_entry("optimization.disable_specified_optimizers", ";".join(names))
        return options
