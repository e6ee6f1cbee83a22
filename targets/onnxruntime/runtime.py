"""The runtime ``onnxruntime`` on the CPU."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import onnx_ir as ir
from pydantic import Field, JsonValue

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.target import Artifact, Machine, Runner, Runtime, RuntimeOptions, TuneResult
from tamis.targets.hardware.host import ARCH, detect, usable_threads
from tamis.targets.onnxruntime.kernels import unsupported_nodes
from tamis.targets.onnxruntime.session import ALL_OFF, SessionRunner, session_options

MODEL = "model.onnx"


class OnnxRuntimeOptions(RuntimeOptions):
    """Settings of an ONNX Runtime session; those left out are chosen by ``tune``, or by default."""

    threads: int | None = Field(
        None, ge=1, le=1024, description="Threads inside an operator. Default: all that the process may use."
    )
    optimization: Literal["none", "basic", "extended", "all"] | None = Field(
        None, description="Graph optimization level of the session. Default: all; only 'all' uses blocked layouts."
    )
    allow_spinning: bool | None = Field(
        None, description="Threads spin while they wait: lower latency, more CPU time. Default: true."
    )
    denormal_as_zero: bool | None = Field(
        None, description="Flush denormal numbers to zero, for models whose activations decay. Default: false."
    )


class OnnxRuntime(Runtime[OnnxRuntimeOptions]):
    """ONNX Runtime's CPU execution provider: the lowering that always works.

    *Lowers to* ``model.onnx`` (with ``model.onnx.data`` beside it for large weights), loaded with the
    settings in the manifest; ONNX Runtime optimizes the graph again when it loads it, for the machine that
    it runs on, so that the file stays portable.

    *Tunes* threads, spinning, optimization level and flushing of denormals.

    References: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """

    name: ClassVar[str] = "onnxruntime"
    options_type = OnnxRuntimeOptions

    def unavailable(self, machine: Machine) -> str | None:
        """See ``Runtime.unavailable``: ONNX Runtime runs on the machine that it is installed on."""
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            return f"onnxruntime cannot be imported ({error}); install it with 'pip install onnxruntime'"
        here = ARCH.get(platform.machine().lower(), platform.machine())
        if machine.arch != here:
            return (
                f"runtime onnxruntime can only run on the machine at hand, which is {here}, not {machine.arch}; "
                f"compile on a machine of that kind"
            )
        missing = sorted(set(machine.isa) - set(detect().isa))
        if missing:
            return f"this machine lacks {', '.join(missing)} of {machine.name}; compile on a machine that has it"
        return None

    def fingerprint(self, machine: Machine) -> dict[str, str]:
        """CPU, features, threads and the version of ONNX Runtime."""
        import onnxruntime

        return {
            "cpu": detect().description,
            "isa": " ".join(machine.isa),
            "threads": str(min(machine.threads, usable_threads())),
            "onnxruntime": onnxruntime.__version__,
        }

    def unsupported(self, model: ir.Model, machine: Machine) -> list[str]:
        """Nodes whose operator this ONNX Runtime does not know."""
        return unsupported_nodes(model)

    def default_settings(self, machine: Machine) -> dict[str, JsonValue]:
        """The recipe's options, or the defaults that their descriptions name."""
        given = self.options.model_dump(exclude_none=True)
        threads = min(machine.threads, usable_threads())
        return {
            "threads": threads,
            "optimization": "all",
            "allow_spinning": True,
            "denormal_as_zero": False,
            **given,
        }

    def lower(self, model: ir.Model, folder: Path, settings: Mapping[str, JsonValue]) -> Artifact:
        """Write the model; the settings go into the manifest with the artifact."""
        from tamis.compiler.model_file import save_model

        written = save_model(model, folder / MODEL)
        return Artifact(self.name, tuple(p.relative_to(folder).as_posix() for p in written), dict(settings))

    def load(self, folder: Path, artifact: Artifact) -> Runner:
        """A session on the file with the artifact's settings; no more threads than this process may use."""
        settings = dict(artifact.settings)
        settings["threads"] = min(int(str(settings["threads"])), usable_threads())
        return SessionRunner(str(folder / artifact.files[0]), session_options(settings))

    def load_model(self, model: ir.Model, *, optimize: bool = True, threads: int | None = None) -> Runner:
        """A session on a model in memory; large weights are shared with the model, not copied."""
        settings = self.default_settings(detect())
        if threads is not None:
            settings["threads"] = threads
        if not optimize:
            settings["optimization"] = ALL_OFF
        return self._open(model, settings)

    def _open(self, model: ir.Model, settings: Mapping[str, JsonValue]) -> Runner:
        from tamis.targets.onnxruntime.in_memory import add_large_initializers

        options = session_options(settings)
        if settings["optimization"] == ALL_OFF:
            options.add_session_config_entry("session.disable_prepacking", "1")
        data, keep = add_large_initializers(model, options)
        return SessionRunner(data, options, keep)

    def tune(
        self,
        model: ir.Model,
        feeds: Feeds,
        machine: Machine,
        seconds: float,
        progress: Callable[[float, str], None],
    ) -> TuneResult:
        """Search the settings that the recipe leaves open; see ``tune_session``."""
        from tamis.targets.onnxruntime.tune_session import tune_session

        fixed = set(self.options.model_dump(exclude_none=True))
        start = self.default_settings(machine)

        def load(settings: Mapping[str, Any]) -> Runner:
            return self._open(model, settings)

        return tune_session(load, start, fixed, feeds, seconds, progress)
