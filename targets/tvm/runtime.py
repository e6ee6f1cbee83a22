"""The runtime ``tvm``."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.errors import LoweringError, TargetUnavailableError
from tamis.compiler.graph_pass import Feeds, GraphPass
from tamis.compiler.link import HERE, Link
from tamis.compiler.measure import Call, call_of
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.model_file import save_model
from tamis.compiler.target import Artifact, Machine, Runner, Runtime, TuneBudget, TuneResult
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.hardware.cpu_limits import usable_threads
from tamis.targets.hardware.host import detect, host_arch
from tamis.targets.links import qemu
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.legalize import LEGALIZATION
from tamis.targets.tvm.library import LibraryRunner
from tamis.targets.tvm.machine_target import machine_target
from tamis.targets.tvm.precheck import unsupported_nodes
from tamis.targets.tvm.rpc.reach import DEVICE_MODEL, device_settings, unreachable
from tamis.targets.tvm.settings import Layout, Settings, TensorSpec, TvmOptions
from tamis.targets.tvm.tuning.store import saver, write_known

LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc")
TRIALS = 64
"""For each kernel, if the recipe gives no number."""
SEED = 0
COMPARE_SECONDS = 4.0
HINT = "pip install 'tamis[tvm]'"
DISTRIBUTIONS = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"}
"""The versions that work together: later ones of apache-tvm-ffi crash this TVM while it searches schedules."""


class Tvm(Runtime[TvmOptions]):
    """Apache TVM: one library with the whole model compiled for the machine, schedules tuned for it.

    *Lowers to* ``model.so``, which needs nothing of TVM but its small runtime (the package ``apache-tvm-ffi`` and
    ``libtvm_runtime.so``, 6 MB), and no compiler. Phases: import, simplify, convert layout, legalize, fuse, mark weights,
    schedule, prepack, generate code, link.

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
        return _not_installed() or self._unreachable(machine)

    def _unreachable(self, machine: Machine) -> str | None:
        if self.link.kind == "none":
            return None
        if self.link.kind == "rpc":
            return unreachable(self.link)
        if self.link.kind == "qemu":
            return qemu.unavailable(machine)
        here = detect()
        missing = sorted(set(machine.isa) - set(here.isa))
        if machine.gpu is not None:
            reason = f"this process has no {machine.gpu.compute} GPU"
        elif machine.arch != host_arch():
            reason = f"this machine is {host_arch()}, not {machine.arch}"
        elif missing:
            reason = f"this machine lacks {', '.join(missing)} of {machine.name}"
        else:
            return None
        emulate = "" if machine.gpu else " 'link: qemu' to emulate it,"
        return f"{reason}; add{emulate} 'link: {{rpc: host:port}}' to use a device, or 'link: none' to compile without running"

    def fingerprint(self, machine: Machine) -> dict[str, str]:
        """The CPU as LLVM is told it, the threads, the link, and the versions of TVM."""
        return {
            "runtime": self.name,
            **{name: metadata.version(name) for name in DISTRIBUTIONS},
            "cpu": detect().description if self.link.kind == "here" else machine.name,
            "llvm": " ".join((machine.llvm.triple, machine.llvm.cpu, *machine.llvm.features)),
            "gpu": machine.gpu.compute if machine.gpu else "none",
            "threads": str(self._threads(machine)),
            "link": " ".join(filter(None, (self.link.kind, self.link.key or self.link.address))),
        }

    def unsupported(self, model: ir.Model, machine: Machine) -> list[str]:
        """Nodes that TVM cannot import, or is known to compute wrongly."""
        return unsupported_nodes(model)

    def legalize_passes(self, machine: Machine) -> Sequence[GraphPass[Any]]:
        """The forms that TVM imports, and computes rightly; one that breaks its contract on a model is undone."""
        return [step(step.options_type(on_violation="skip")) for step in LEGALIZATION]

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
        """Compile the model with the best schedules that ``database`` has for the machine.

        Raises:
            LoweringError: TVM failed, or died; names the phase and the operator.
        """
        emulated = machine.llvm.cpu if self.link.kind == "qemu" else None
        edges = {"inputs": _inputs(model), "outputs": [str(value.name) for value in model.graph.outputs]}
        chosen = Settings.model_validate({**settings, **edges, "emulated_cpu": emulated})
        with self._request(model, machine, chosen, database) as request:
            built = self._compiler(machine).request("build", {**request, "out": str(folder)})
        return Artifact(self.name, tuple(built["files"]), chosen.to_json())

    def load(self, folder: Path, artifact: Artifact) -> Runner:
        """The library in a process of its own, emulated or on a device if that is the link."""
        path, settings = folder / artifact.files[0], dict(artifact.settings)
        if self.link.kind == "rpc":
            return RemoteModel(
                self.name, path, {**settings, "device": device_settings(self.link)}, program=DEVICE_MODEL
            )
        if self.link.kind != "qemu":
            return RemoteModel(self.name, path, settings)
        environment = qemu.environment(Settings.model_validate(settings).emulated_cpu)
        return RemoteModel(self.name, path, settings, command=qemu.command(), environment=environment)

    def deploy(self, folder: Path, artifact: Artifact) -> Runner:
        """The library in this process; emulated if that is the link."""
        if self.link.kind == "qemu":
            return self.load(folder, artifact)
        return LibraryRunner(folder / artifact.files[0], artifact.settings)

    def load_model(self, model: ir.Model, *, optimize: bool = True) -> Runner:
        """Compile for the machine at hand and load."""
        raise LoweringError("runtime tvm loads finished bundles only")

    def stand_in(
        self, model: ir.Model, machine: Machine, settings: Mapping[str, JsonValue], database: TuningDatabase
    ) -> Runner:
        """The same module compiled for the machine at hand: the same arithmetic but for the order of sums."""
        scratch = tempfile.TemporaryDirectory(prefix="tamis-")
        here = Tvm(self.options)
        try:
            artifact = here.lower(
                model, Path(scratch.name), detect(), {**settings, "threads": usable_threads()}, database
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
        """Search schedules, in either layout if the recipe leaves it open and that could pay; keep the faster layout.

        Raises:
            LoweringError: TVM failed, or died; what was found until then is stored.
            TargetUnavailableError: Nothing can be measured over the link.
        """
        if not self.link.measures or machine.gpu is not None:
            raise TargetUnavailableError(
                f"schedules for {machine.name} cannot be measured over link {self.link.kind!r}",
                fix="tune with 'link: {rpc: host:port}' on the device, or import records: 'tamis cache import'",
            )
        layouts = self._layouts(model)
        records = {
            layout: self._search(
                model, machine, layout, budget, database, _part(progress, i, len(layouts)), len(layouts)
            )
            for i, layout in enumerate(layouts)
        }
        chosen, compared = self._faster(model, feeds, machine, layouts, database)
        settings = self._default(machine).model_copy(update={"layout": chosen})
        trials = sum(record["trials"] for record in records.values())
        return TuneResult(settings.to_json(), {"trials": trials, "layouts": records, "compared": compared})

    def _layouts(self, model: ir.Model) -> tuple[Layout, ...]:
        """Those worth a search: channels last pays for dense convolutions only."""
        if self.options.layout is not None:
            return (self.options.layout,)
        return LAYOUTS if any(is_dense_conv(node) for node in model.graph) else LAYOUTS[:1]

    def _search(
        self,
        model: ir.Model,
        machine: Machine,
        layout: Layout,
        budget: TuneBudget,
        database: TuningDatabase,
        progress: Callable[[float, str], None],
        shares: int,
    ) -> dict[str, Any]:
        settings = self._default(machine).model_copy(update={"layout": layout})
        trials = budget.trials or TRIALS
        store = saver(database, self.fingerprint(machine))

        def listen(report: Mapping[str, Any]) -> None:
            store(report)
            if "trials" in report:
                best = f"{report['estimated_ms']:.3f} ms" if report["estimated_ms"] else "first kernels"
                progress(report["finished"] / report["kernels"], f"{layout}, {report['trials']} trials, {best}")

        with self._request(model, machine, settings, database) as request:
            limits = {"trials": trials, "seconds": budget.seconds and budget.seconds / shares, "seed": SEED}
            return self._compiler(machine).request("tune", {**request, **limits}, listen)

    def _faster(
        self, model: ir.Model, feeds: Feeds, machine: Machine, layouts: tuple[Layout, ...], database: TuningDatabase
    ) -> tuple[Layout, dict[str, Any] | None]:
        """The layout of the faster library, the first one if there is no telling, and what was measured."""
        if len(layouts) == 1:
            return layouts[0], None
        with ExitStack() as scratch:
            calls = []
            for layout in layouts:
                folder = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="tamis-")))
                settings = self._default(machine).model_copy(update={"layout": layout})
                artifact = self.lower(model, folder, machine, settings.to_json(), database)
                calls.append(partial(self._call, folder, artifact, feeds))
            found = compare_loads(*calls, seconds=COMPARE_SECONDS)
        return layouts[found.verdict == "faster"], found.summary()

    def _call(self, folder: Path, artifact: Artifact, feeds: Feeds) -> Call:
        return call_of(self.load(folder, artifact), feeds)

    @contextmanager
    def _request(
        self, model: ir.Model, machine: Machine, settings: Settings, database: TuningDatabase
    ) -> Iterator[dict[str, Any]]:
        """What every command of the compiler process needs; the files vanish in the end."""
        with tempfile.TemporaryDirectory(prefix="tamis-") as scratch:
            path, known = Path(scratch) / "model.onnx", Path(scratch) / "known.jsonl"
            save_model(model, path)
            write_known(database, self.fingerprint(machine), known)
            yield {
                "model": str(path),
                "target": machine_target(machine, settings.threads),
                "gpu": machine.gpu and machine.gpu.model_dump(),
                "settings": settings.to_json(),
                "known": str(known),
            }

    def close(self) -> None:
        """End the compiler process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _compiler(self, machine: Machine) -> CompilerProcess:
        if self._process is None:
            self._process = CompilerProcess(min(self._threads(machine), usable_threads()))
            weakref.finalize(self, self._process.close)
        return self._process

    def _threads(self, machine: Machine) -> int:
        threads = self.options.threads or machine.threads
        return min(threads, usable_threads()) if self.link.kind == "here" else threads

    def _default(self, machine: Machine) -> Settings:
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


def is_dense_conv(node: ir.Node) -> bool:
    """A convolution that sums over channels and places."""
    if node.op_type != "Conv" or node.attributes.get_int("group", 1) != 1:
        return False
    weight = node.inputs[1]
    return weight is not None and weight.shape is not None and any(d != 1 for d in list(weight.shape)[2:])


def _part(progress: Callable[[float, str], None], index: int, count: int) -> Callable[[float, str], None]:
    """``progress`` for one of ``count`` searches."""
    return lambda fraction, note: progress((index + fraction) / count, note)


def _inputs(model: ir.Model) -> list[dict[str, Any]]:
    found = []
    for value in model.graph.inputs:
        if value.name in model.graph.initializers:
            continue
        assert value.shape is not None and value.dtype is not None and value.name is not None
        shape = tuple(d if isinstance(d, int) else str(d.value) for d in value.shape)
        found.append(TensorSpec(name=value.name, dtype=value.dtype.numpy().name, shape=shape).model_dump())
    return found
