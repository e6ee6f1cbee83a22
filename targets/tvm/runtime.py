"""The runtime ``tvm``."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.errors import LoweringError, TargetUnavailableError
from tamis.compiler.graph_pass import Feeds, GraphPass
from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.link import HERE, Link
from tamis.compiler.loader.loader_source import LoaderSource
from tamis.compiler.machine_data import Machine
from tamis.compiler.target import Artifact, Runner, Runtime, TuneBudget, TuneResult
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.hardware.cpu_limits import usable_threads
from tamis.targets.hardware.host import detect, host_arch
from tamis.targets.links import qemu
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.gpu import nvrtc
from tamis.targets.tvm.gpu.device import device_missing
from tamis.targets.tvm.int8_kernels import int8_kernels
from tamis.targets.tvm.layout import LAYOUTS, preferred_layout
from tamis.targets.tvm.legalize import LEGALIZATION
from tamis.targets.tvm.loaded_library import LoadedLibrary, library_kind
from tamis.targets.tvm.loader import loader_source
from tamis.targets.tvm.notes import lowering_notes
from tamis.targets.tvm.precheck import unsupported_nodes
from tamis.targets.tvm.request import compile_request
from tamis.targets.tvm.rpc.reach import DEVICE_MODEL, device_settings, unreachable
from tamis.targets.tvm.settings import Settings, TvmOptions, input_specs
from tamis.targets.tvm.tuner import Tuner

HINT = "pip install 'tamis[tvm]'"
DISTRIBUTIONS = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"}
"""The versions that work together: later ones of apache-tvm-ffi crash this TVM while it searches schedules."""

SCHEDULES = "3"
"""Raised when default schedules get better than what was found before, or times are taken in another way."""


class Tvm(Runtime[TvmOptions]):
    """Apache TVM: one library with the whole model compiled for the machine, schedules tuned for it.

    *Lowers to* ``model.so``, and ``weights.npz`` if weights are to lie beside it. They need nothing of TVM but its small runtime (the package ``apache-tvm-ffi`` and
    ``libtvm_runtime.so``, 6 MB), and no compiler. Phases: import, find integer products, simplify, convert
    layout, pack integer products, lengthen rows, fill vectors, legalize, fuse, mark weights, schedule, prepack, generate code, link.

    *Quantized models* (Q and DQ): convolutions and matrix products are computed in 8-bit integers on CPUs with a dot-product
    instruction (AVX-512 VNNI; the dot product of Armv8.2), in floats on others. What lies between them is computed with
    floats in registers and stored in integers.

    *Tunes* the schedule of every kernel by measuring candidates on the machine (MetaSchedule), and the layout of
    convolutions. Records are kept for each machine and reused; see docs/tuning.md.

    *Refuses* models with operators that TVM cannot import or is known to compute wrongly, node by node, before any work.
    ``fallback: onnxruntime`` compiles those with ONNX Runtime instead, and the report says so.

    *Isolation*: TVM runs in a process of its own. If its C++ code crashes, the error names the phase and the operator.

    *Steps* are not measured one by one on this runtime, since schedules are searched after the last of them; the
    finished library is measured against the model as given on ONNX Runtime.

    References: Chen et al., TVM, OSDI 2018; Shao et al., Tensor Program Optimization with Probabilistic Programs,
    NeurIPS 2022 (MetaSchedule); Lai et al., Relax, ASPLOS 2025.
    """

    name: ClassVar[str] = "tvm"
    options_type = TvmOptions
    measures_steps: ClassVar[bool] = False

    def __init__(self, options: TvmOptions | None = None, link: Link = HERE) -> None:
        super().__init__(options, link)
        self._process: CompilerProcess | None = None

    def unavailable(self, machine: Machine) -> str | None:
        """See ``Runtime.unavailable``: the compiler must be installed, and the link must reach such a machine."""
        if self.name not in machine.runtimes:
            return f"machine {machine.name} is served by {', '.join(machine.runtimes)} only, not by {self.name}"
        if machine.gpu is not None and self.options.weights == "beside":
            return "weights beside the library are for CPUs; leave out 'weights: beside'"
        compiler = nvrtc.unavailable() if machine.gpu is not None else None
        return _not_installed() or compiler or self._unreachable(machine)

    def _unreachable(self, machine: Machine) -> str | None:
        if self.link.kind == "none":
            return None
        if self.link.kind == "rpc":
            return unreachable(self.link)
        if self.link.kind == "qemu":
            return qemu.unavailable(machine)
        here = detect()
        missing = sorted(set(machine.isa) - set(here.isa))
        reason: str | None = None
        if machine.gpu is not None:
            reason = device_missing(machine.gpu)
        elif machine.arch != host_arch():
            reason = f"this machine is {host_arch()}, not {machine.arch}"
        elif missing:
            reason = f"this machine lacks {', '.join(missing)} of {machine.name}"
        if reason is None:
            return None
        emulate = "" if machine.gpu else " 'link: qemu' to emulate it,"
        return f"{reason}; add{emulate} 'link: {{rpc: host:port}}' to use a device, or 'link: none' to compile without running"

    def fingerprint(self, machine: Machine) -> dict[str, str]:
        """The CPU as LLVM is told it, the threads, and the versions of TVM.

        Not the link: what was tuned on a board serves builds for such a machine that cannot reach it.
        """
        return {
            "runtime": self.name,
            **{name: metadata.version(name) for name in DISTRIBUTIONS},
            "schedules": SCHEDULES,
            "cpu": detect().description if self.link.kind == "here" else machine.name,
            "llvm": " ".join((machine.llvm.triple, machine.llvm.cpu, *machine.llvm.features)),
            "gpu": machine.gpu.compute if machine.gpu else "none",
            "threads": str(self._threads(machine)),
        }

    def unsupported(self, model: ir.Model, machine: Machine) -> list[str]:
        """Nodes that TVM cannot import, or is known to compute wrongly."""
        return unsupported_nodes(model)

    def legalize_passes(self, machine: Machine) -> Sequence[GraphPass[Any]]:
        """The forms that TVM imports, and computes rightly; one that breaks its contract on a model is undone."""
        return [step(step.options_type(on_violation="skip")) for step in LEGALIZATION]

    def default_settings(self, machine: Machine) -> dict[str, JsonValue]:
        """The recipe's options, or the defaults that their descriptions name."""
        return self.settings(machine).to_json()

    def channel_multiple(self, machine: Machine) -> int:
        """The float32 lanes of a vector register: TVM pads nothing but the last vector; with a GPU, the machine's figure."""
        return machine.channel_multiple if machine.gpu is not None else max(1, machine.simd_bits // 32)

    def int8_kernels(self, machine: Machine) -> Int8Kernels | None:
        """See ``int8_kernels.yaml``; none on a CPU without a dot-product instruction, and none with a GPU."""
        return int8_kernels(machine)

    def lower(
        self,
        model: ir.Model,
        folder: Path,
        machine: Machine,
        settings: Mapping[str, JsonValue],
        database: TuningDatabase,
    ) -> Artifact:
        """Compile the model with the best schedules that ``database`` has for the machine.

        Raises:
            LoweringError: TVM failed, or died; names the phase and the operator.
        """
        asked = settings["layout"]
        layout = Settings.model_validate(dict(settings)).layout or preferred_layout(model, machine)
        try:
            return self._build(model, folder, machine, {**settings, "layout": layout}, database)
        except LoweringError as error:
            if asked is not None or layout == LAYOUTS[0]:
                raise
            artifact = self._build(model, folder, machine, {**settings, "layout": LAYOUTS[0]}, database)
            note = f"layout {LAYOUTS[0]}, since TVM fails on {layout}: {error.found}"
            return replace(artifact, notes=(*artifact.notes, note))

    def _build(
        self,
        model: ir.Model,
        folder: Path,
        machine: Machine,
        settings: Mapping[str, JsonValue],
        database: TuningDatabase,
    ) -> Artifact:
        facts = {
            "inputs": input_specs(model),
            "outputs": [str(value.name) for value in model.graph.outputs],
            "emulated_cpu": machine.llvm.cpu if self.link.kind == "qemu" else None,
            "gpu": machine.gpu and machine.gpu.compute,
        }
        chosen = Settings.model_validate({**settings, **facts})
        with compile_request(model, machine, chosen, database, self.fingerprint(machine)) as request:
            built = self.compiler(machine).request("build", {**request, "out": str(folder)})
        return Artifact(self.name, tuple(built["files"]), chosen.to_json(), lowering_notes(model, built))

    def load(self, folder: Path, artifact: Artifact) -> Runner:
        """The library in a process of its own, emulated or on a device if that is the link."""
        path, settings = folder / artifact.files[0], dict(artifact.settings)
        if self.link.kind == "rpc":
            return RemoteModel(
                self.name, path, {**settings, "device": device_settings(self.link)}, program=DEVICE_MODEL
            )
        if self.link.kind != "qemu":
            return RemoteModel(library_kind(settings), path, settings)
        environment = qemu.environment(Settings.model_validate(settings).emulated_cpu)
        return RemoteModel(self.name, path, settings, command=qemu.command(), environment=environment)

    def deploy(self, folder: Path, artifact: Artifact) -> Runner:
        """The library in this process; emulated if that is the link."""
        if self.link.kind == "qemu":
            return self.load(folder, artifact)
        return LoadedLibrary(folder / artifact.files[0], artifact.settings)

    @classmethod
    def loader_source(cls, artifact: Artifact) -> LoaderSource | None:
        """The library in the application's process; None for GPUs."""
        return loader_source(artifact.settings)

    def load_model(self, model: ir.Model, *, optimize: bool = True) -> Runner:
        """Compile for the machine at hand and load."""
        raise LoweringError("runtime tvm loads finished bundles only")

    def stand_in(
        self, model: ir.Model, machine: Machine, settings: Mapping[str, JsonValue], database: TuningDatabase
    ) -> Runner:
        """The same module compiled for the machine at hand: the same arithmetic but for the order of sums."""
        scratch = tempfile.TemporaryDirectory(prefix="tamis-")
        here = Tvm(self.options)
        layout = settings["layout"] or preferred_layout(model, machine)
        try:
            artifact = here.lower(
                model,
                Path(scratch.name),
                detect(),
                {**settings, "layout": layout, "threads": usable_threads()},
                database,
            )
            runner = here.load(Path(scratch.name), artifact)
        finally:
            here.close()
        weakref.finalize(runner, scratch.cleanup)
        return runner

    @property
    def fallback(self) -> str | None:
        """See ``Runtime.fallback``."""
        return None if self.options.fallback == "error" else self.options.fallback

    def tune(
        self,
        model: ir.Model,
        feeds: Feeds,
        machine: Machine,
        budget: TuneBudget,
        database: TuningDatabase,
        progress: Callable[[float, str], None],
    ) -> TuneResult:
        """See ``Tuner``.

        Raises:
            LoweringError: TVM failed, or died; what was found until then is stored.
            TargetUnavailableError: Nothing can be measured over the link.
        """
        if not self.link.measures or machine.gpu is not None:
            raise TargetUnavailableError(
                f"schedules for {machine.name} cannot be measured over link {self.link.kind!r}",
                fix="tune with 'link: {rpc: host:port}' on the device, or import records: 'tamis cache import'",
            )
        return Tuner(self, model, feeds, machine, database).run(budget, progress)

    def close(self) -> None:
        """End the compiler process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def compiler(self, machine: Machine) -> CompilerProcess:
        """The compiler process of this runtime, which lives as long as it."""
        if self._process is None:
            self._process = CompilerProcess(min(self._threads(machine), usable_threads()))
            weakref.finalize(self, self._process.close)
        return self._process

    def _threads(self, machine: Machine) -> int:
        threads = self.options.threads or machine.threads
        return min(threads, usable_threads()) if self.link.kind == "here" else threads

    def settings(self, machine: Machine) -> Settings:
        """The recipe's options with defaults for what it leaves open."""
        given = self.options.model_dump(exclude_none=True, exclude={"fallback", "threads"})
        return Settings.model_validate({"threads": self._threads(machine), **given})


def _not_installed() -> str | None:
    for name, wanted in DISTRIBUTIONS.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            return f"{name} is not installed; {HINT}"
        if found != wanted:
            return f"{name} {found} is installed, but {wanted} is needed; {HINT}"
    return None
