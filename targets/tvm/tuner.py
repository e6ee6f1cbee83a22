"""The search for a model's schedules, from outside the compiler process: which layouts, how far, and what is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from tamis.compiler.errors import LoweringError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.machine_data import Machine
from tamis.compiler.measure import Call, call_of
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.target import Artifact, TuneBudget, TuneResult
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.tvm.layout import LAYOUTS, convolutions
from tamis.targets.tvm.request import compile_request
from tamis.targets.tvm.rpc.reach import device_settings
from tamis.targets.tvm.settings import Layout
from tamis.targets.tvm.tuning.store import saver

if TYPE_CHECKING:
    from tamis.targets.tvm.runtime import Tvm

TRIALS = 64
"""For each kernel, if the recipe gives no number."""
SEED = 0
COMPARE_SECONDS = 4.0

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Tuner:
    """Searches schedules, in either layout if the recipe leaves it open and there are convolutions, and keeps the faster one."""

    runtime: Tvm
    model: ir.Model
    feeds: Feeds
    machine: Machine
    database: TuningDatabase

    def run(self, budget: TuneBudget, progress: Progress) -> TuneResult:
        """Search. Schedules are stored as they come; the result has the layout and what was measured.

        A layout that nobody asked for, and that TVM fails on, is left out; the record says why.

        Raises:
            LoweringError: TVM failed, or died.
        """
        layouts = self._layouts()
        records: dict[str, Any] = {}
        for i, layout in enumerate(layouts):
            part = _part(progress, i, len(layouts))
            try:
                records[layout] = self._search(layout, budget, len(layouts), part)
            except LoweringError as error:
                if layout == layouts[0]:
                    raise
                records[layout] = {"trials": 0, "error": str(error)}
        able = tuple(layout for layout in layouts if "error" not in records[layout])
        chosen, compared = self._faster(able)
        settings = self.runtime.settings(self.machine).model_copy(update={"layout": chosen})
        trials = sum(record["trials"] for record in records.values())
        return TuneResult(settings.to_json(), {"trials": trials, "layouts": records, "compared": compared})

    def _layouts(self) -> tuple[Layout, ...]:
        """Those worth a search: both, if there is a convolution."""
        if self.runtime.options.layout is not None:
            return (self.runtime.options.layout,)
        return LAYOUTS if convolutions(self.model) else LAYOUTS[:1]

    def _search(self, layout: Layout, budget: TuneBudget, shares: int, progress: Progress) -> dict[str, Any]:
        runtime, machine = self.runtime, self.machine
        settings = runtime.settings(machine).model_copy(update={"layout": layout})
        fingerprint = runtime.fingerprint(machine)
        store = saver(self.database, fingerprint)

        def listen(report: Mapping[str, Any]) -> None:
            store(report)
            if "trials" in report:
                best = f"{report['estimated_ms']:.3f} ms" if report["estimated_ms"] else "first kernels"
                progress(report["finished"] / report["kernels"], f"{layout}, {report['trials']} trials, {best}")

        limits = {
            "trials": budget.trials or TRIALS,
            "seconds": budget.seconds and budget.seconds / shares,
            "seed": SEED,
            "device": device_settings(runtime.link) if runtime.link.kind == "rpc" else None,
        }
        with compile_request(self.model, machine, settings, self.database, fingerprint) as request:
            return runtime.compiler(machine).request("tune", {**request, **limits}, listen)

    def _faster(self, layouts: tuple[Layout, ...]) -> tuple[Layout, dict[str, Any] | None]:
        """The layout of the faster library, the first one if there is no telling, and what was measured."""
        if len(layouts) == 1:
            return layouts[0], None
        with ExitStack() as scratch:
            calls = []
            for layout in layouts:
                folder = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="tamis-")))
                settings = self.runtime.settings(self.machine).model_copy(update={"layout": layout})
                artifact = self.runtime.lower(self.model, folder, self.machine, settings.to_json(), self.database)
                calls.append(partial(self._call, folder, artifact))
            found = compare_loads(*calls, seconds=COMPARE_SECONDS)
        return layouts[found.verdict == "faster"], found.summary()

    def _call(self, folder: Path, artifact: Artifact) -> Call:
        return call_of(self.runtime.load(folder, artifact), self.feeds)


def _part(progress: Progress, index: int, count: int) -> Progress:
    """``progress`` for one of ``count`` searches."""
    return lambda fraction, note: progress((index + fraction) / count, note)
