"""The runtime ``onnxruntime``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import onnx_ir as ir
import yaml
from pydantic import JsonValue, ValidationError

from tamis.compiler.errors import LoweringError, TargetUnavailableError
from tamis.compiler.graph_pass import Feeds, GraphPass
from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.loader.loader_source import LoaderSource
from tamis.compiler.machine_data import Machine
from tamis.compiler.model_file import save_model
from tamis.compiler.target import Artifact, NodeTime, Runner, Runtime, TuneBudget, TuneResult
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.weight_kernels import WeightKernels
from tamis.targets.hardware.cpu_limits import usable_threads
from tamis.targets.hardware.host import detect, host_arch
from tamis.targets.links import qemu
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.onnxruntime.add_bias_last import AddBiasLast
from tamis.targets.onnxruntime.affine_to_batch_norm import AffineToBatchNorm
from tamis.targets.onnxruntime.decompose_lrn import DecomposeLrn
from tamis.targets.onnxruntime.fuse_attention import FuseAttention
from tamis.targets.onnxruntime.int8_kernels import int8_kernels
from tamis.targets.onnxruntime.kernels import unsupported_nodes
from tamis.targets.onnxruntime.loader import loader_source
from tamis.targets.onnxruntime.memory_model import open_in_memory, optimized_in_memory
from tamis.targets.onnxruntime.pad_channels import PadChannels
from tamis.targets.onnxruntime.prelu_to_relu import PreluToRelu
from tamis.targets.onnxruntime.profile import profile_session
from tamis.targets.onnxruntime.providers import absent
from tamis.targets.onnxruntime.raise_bias_rank import RaiseBiasRank
from tamis.targets.onnxruntime.raise_scalars import RaiseScalars
from tamis.targets.onnxruntime.session import SessionRunner, import_onnxruntime
from tamis.targets.onnxruntime.settings import OnnxRuntimeOptions, Settings
from tamis.targets.onnxruntime.spread_gates import SpreadGates
from tamis.targets.onnxruntime.tune_session import tune_session
from tamis.targets.onnxruntime.unroll_narrow_convs import UnrollNarrowConvs
from tamis.targets.onnxruntime.widen_sequences import WidenSequences

MODEL = "model.onnx"
TUNE_SECONDS = 20.0
"""Time budget of a search when the recipe gives none."""
NEEDS_ONE_OF = {"fuse_matmul_add": {"MatMul"}, "fuse_skip_layer_norm": {"LayerNormalization", "ReduceMean"}}
"""Settings that make no difference to models without any of these operators."""

LEGALIZATION: tuple[type[GraphPass[Any]], ...] = (
    WidenSequences,
    DecomposeLrn,
    PreluToRelu,
    AffineToBatchNorm,
    UnrollNarrowConvs,
    PadChannels,
    SpreadGates,
    FuseAttention,
    AddBiasLast,
    RaiseBiasRank,
    RaiseScalars,
)
"""Passes for forms that ONNX Runtime is fast at, in their order."""


class OnnxRuntime(Runtime[OnnxRuntimeOptions]):
    """ONNX Runtime: the lowering that always works, on the CPU, or on a GPU by CUDA or TensorRT.

    *Lowers to* ``model.onnx`` (with ``model.onnx.data`` beside it for large weights) and settings in the
    manifest. ONNX Runtime optimizes the graph again each time it loads it, for the machine that it runs on,
    so the file stays portable.

    *Tunes* the number of threads, spinning, the level of graph optimization, and two fusions that ONNX Runtime makes
    whether they help or not.

    *Threads*: as many as the machine has; a session that is loaded here gets no more than the process may use,
    and a container's CPU quota counts. By default threads spin only while a model runs: as fast as spinning always, without
    burning the CPU between calls.

    *Provider*: ``cuda`` on machines with a GPU, where ``onnxruntime-gpu`` must be installed; what it lacks falls to the CPU
    node by node. A provider that does not start is an error, never a session on the CPU. The reference is always the CPU.

    References: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """

    name: ClassVar[str] = "onnxruntime"
    options_type = OnnxRuntimeOptions

    def unavailable(self, machine: Machine) -> str | None:
        """See ``Runtime.unavailable``: the machine at hand must be of the same kind, unless another is emulated."""
        if self.name not in machine.runtimes:
            return f"machine {machine.name} is served by {', '.join(machine.runtimes)} only, not by {self.name}"
        try:
            import_onnxruntime()
        except TargetUnavailableError as error:
            return str(error)
        return self._unreachable(machine)

    def _unreachable(self, machine: Machine) -> str | None:
        """Why the link does not lead to such a machine."""
        if self.link.kind == "none":
            return None
        provider = self._default(machine).provider
        if self.link.kind == "qemu":
            emulated = provider in (None, "cpu")
            return (
                qemu.unavailable(machine)
                if emulated
                else "QEMU emulates no GPU; choose 'provider: cpu' or 'link: none'"
            )
        if self.link.kind == "rpc":
            return f"runtime {self.name} cannot use devices over RPC; use runtime tvm, or 'link: none'"
        if reason := absent(import_onnxruntime(), provider):
            return reason
        if machine.arch != host_arch():
            return (
                f"runtime {self.name} runs on the machine at hand only, which is {host_arch()}, not {machine.arch}; "
                "compile on a machine of that kind, or add 'link: qemu' to emulate it"
            )
        missing = sorted(set(machine.isa) - set(detect().isa))
        if missing:
            return f"this machine lacks {', '.join(missing)} of {machine.name}; compile on a machine that has it"
        return None

    def fingerprint(self, machine: Machine) -> dict[str, str]:
        """The CPU at hand, or the emulated one, with its features, the threads used, and the version of ONNX Runtime."""
        here = detect()
        emulated = self.link.kind == "qemu"
        return {
            "runtime": self.name,
            "onnxruntime": str(import_onnxruntime().__version__),
            "cpu": machine.description if emulated else here.description,
            "isa": " ".join(machine.isa if emulated else here.isa),
            "threads": str(_here(self._default(machine)).threads),
            **self._provider_fingerprint(machine),
            **({"emulator": f"{qemu.version()}, {machine.llvm.cpu}"} if emulated else {}),
        }

    def _provider_fingerprint(self, machine: Machine) -> dict[str, str]:
        provider = self._default(machine).provider
        if provider in (None, "cpu"):
            return {}
        return {"provider": str(provider), "gpu": machine.gpu.compute if machine.gpu else "at hand"}

    def unsupported(self, model: ir.Model, machine: Machine) -> list[str]:
        """Nodes without a CPU kernel, if a session cannot be made because of them.

        ONNX Runtime's tables are looked at first, which costs nothing; only if they lack something is a
        session tried, since they do not tell of every operator that is run by way of others.
        """
        lines = unsupported_nodes(model)
        if lines:
            try:
                self.load_model(model, optimize=False)
            except LoweringError:
                return lines
        return []

    def legalize_passes(self, machine: Machine) -> Sequence[GraphPass[Any]]:
        """The forms that stay in the blocked layout, and those of transformers that no fusion slows down.

        A step that breaks its contract on a model is undone: nobody has asked for it.
        """
        return [step(step.options_type(on_violation="skip")) for step in LEGALIZATION]

    def channel_multiple(self, machine: Machine) -> int:
        """On x86 the blocks of the layout that convolutions run in (NCHWc of MLAS: 16 channels with AVX-512F, else 8), which
        are in the machine's data; on ARM, where convolutions keep the plain layout, the lanes of a vector."""
        if machine.gpu is not None or machine.arch == "x86-64":
            return machine.channel_multiple
        return max(1, machine.simd_bits // 32)

    def int8_kernels(self, machine: Machine) -> Int8Kernels | None:
        """See ``int8_kernels.yaml``; none with a GPU."""
        return int8_kernels(machine) if self._default(machine).provider in (None, "cpu") else None

    def optimized_model(self, model: ir.Model, machine: Machine | None = None) -> ir.Model | None:
        """What ONNX Runtime makes of the model, by its own dump; weights are not in it.

        For machines with other integer kernels than the one at hand, activations may be of their type too.
        """
        signed = machine is not None and machine.int8.pair == "s8s8"
        return optimized_in_memory(model, _here(self._default(detect()).on_cpu()), signed=signed)

    def weight_kernels(self, machine: Machine) -> WeightKernels:
        """See ``weight_kernels.yaml``."""
        text = (files("tamis.targets.onnxruntime") / "weight_kernels.yaml").read_text(encoding="utf-8")
        return WeightKernels.model_validate(yaml.safe_load(text))

    def default_settings(self, machine: Machine) -> dict[str, JsonValue]:
        """The recipe's options, or the defaults that their descriptions name."""
        return self._default(machine).to_json()

    def lower(
        self,
        model: ir.Model,
        folder: Path,
        machine: Machine,
        settings: Mapping[str, JsonValue],
        database: TuningDatabase,
    ) -> Artifact:
        """Write the model; the settings go into the manifest with the artifact."""
        written = save_model(model, folder / MODEL)
        emulated = {"emulated_cpu": machine.llvm.cpu} if self.link.kind == "qemu" else {}
        return Artifact(self.name, tuple(p.relative_to(folder).as_posix() for p in written), {**settings, **emulated})

    def load(self, folder: Path, artifact: Artifact) -> Runner:
        """A session on the file with the artifact's settings, with no more threads than this process may use.

        With link qemu it is opened by the aarch64 build of the same version of ONNX Runtime, in an emulated process.

        Raises:
            LoweringError: The settings are not this runtime's, or ONNX Runtime refuses the model.
            TargetUnavailableError: The emulator cannot be had.
        """
        path = folder / artifact.files[0]
        try:
            settings = Settings.model_validate(dict(artifact.settings))
        except ValidationError as error:
            problem = error.errors()[0]
            raise LoweringError(
                "the settings of the artifact cannot be used",
                where=str(folder),
                found=f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}",
                fix="compile the recipe again",
            ) from error
        if self.link.kind == "qemu":
            return RemoteModel(
                self.name,
                path,
                _here(settings).session_data(),
                command=qemu.command(),
                environment=qemu.environment(settings.emulated_cpu),
            )
        return SessionRunner(str(path), _here(settings), where=str(path))

    @classmethod
    def loader_source(cls, artifact: Artifact) -> LoaderSource:
        """A session with the artifact's settings."""
        return loader_source(Settings.model_validate(dict(artifact.settings)))

    def load_model(self, model: ir.Model, *, optimize: bool = True) -> Runner:
        """A session on a model in memory; weights are shared with the model, not copied.

        Reference and models for machines that are not at hand are computed on the CPU.
        """
        settings = _here(self._default(detect()))
        if self.link.kind != "here":
            settings = settings.on_cpu()
        return open_in_memory(model, settings if optimize else settings.as_written())

    def tune(
        self,
        model: ir.Model,
        feeds: Feeds,
        machine: Machine,
        budget: TuneBudget,
        database: TuningDatabase,
        progress: Callable[[float, str], None],
    ) -> TuneResult:
        """Search the settings that the recipe leaves open and the model can feel; see ``tune_session``."""
        operators = {node.op_type for node in model.graph.all_nodes()}
        idle = {setting for setting, needed in NEEDS_ONE_OF.items() if not operators & needed}
        fixed = frozenset(self.options.model_dump(exclude_none=True)) | idle
        start = _here(self._default(machine))
        seconds = budget.seconds or TUNE_SECONDS
        return tune_session(lambda settings: open_in_memory(model, settings), start, fixed, feeds, seconds, progress)

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
        """Time each kernel by ONNX Runtime's own profiler; see ``profile_session``."""
        settings = _here(self._default(machine))
        chosen = settings if optimize else settings.as_written()
        return profile_session(partial(open_in_memory, model, chosen), model, feeds, seconds, progress)

    def _default(self, machine: Machine) -> Settings:
        provider = "cuda" if machine.gpu is not None else None
        given = self.options.model_dump(exclude_none=True)
        return Settings.model_validate({"threads": machine.threads, "provider": provider, **given})


def _here(settings: Settings) -> Settings:
    """The settings with no more threads than this process may use."""
    return settings.model_copy(update={"threads": min(settings.threads, usable_threads())})
