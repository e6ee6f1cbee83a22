"""The command ``tune``: search schedules for the kernels of an ONNX file. Runs in the compiler process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.cost_model import xgb_model

from tamis.targets.hardware.cpu_limits import usable_threads
from tamis.targets.tvm.importing import import_model
from tamis.targets.tvm.pipeline import FRONT, run_phases
from tamis.targets.tvm.rpc.device_runner import DeviceRunner
from tamis.targets.tvm.settings import Settings
from tamis.targets.tvm.tuning.builder import Builder
from tamis.targets.tvm.tuning.kernel_search import KernelSearch
from tamis.targets.tvm.tuning.records import read_records
from tamis.targets.tvm.tuning.runner import Runner
from tamis.targets.tvm.tuning.search import model_ms, search
from tamis.targets.tvm.tuning.store import Stored
from tamis.targets.tvm.tuning.tasks import extract_tasks
from tamis.targets.tvm.tuning.workers import Nursery

Report = Callable[[dict[str, Any]], None]

CACHED_BYTES = 1 << 21
"""More weights do not stay in a core's own cache from one call of the model to the next."""
WARM_UP = 16
"""Candidates that are measured before a cost model ranks others."""
COST_MODELS: dict[str, Callable[[int], ms.cost_model.CostModel]] = {
    "random": lambda seed: ms.cost_model.RandomModel(seed=seed),
    "xgboost": lambda seed: ms.cost_model.XGBModel(
        config=xgb_model.XGBConfig(seed=seed, nthread=1), num_warmup_samples=WARM_UP
    ),
}
"""What ranks candidates before they are measured; xgboost needs the package of that name. benchmarks/cost_models.py compares
them."""


def tune(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Search schedules.

    Args:
        request: ``model`` (path of the ONNX file), ``target`` (see ``machine_target``), ``settings``, ``known`` (path
            of records as JSON lines, or None), ``trials`` (candidates measured for each kernel, earlier ones
            included), ``seconds`` (or None), ``seed``, ``device`` (see ``rpc.session``; None: measure here) and, if it is
            not to be ``random``, ``cost_model``.
        report: Gets the phase, and after each batch of a kernel ``records`` with what is known of it now.

    Returns:
        See ``summary``.
    """
    settings = Settings.model_validate(request["settings"])
    target = tvm.target.Target(request["target"])
    known = request.get("known")
    with Nursery() as nursery:
        module = run_phases(import_model(Path(request["model"]), report), FRONT, target, settings, report)
        searches = make_searches(
            module,
            target,
            read_records(Path(known) if known else None),
            request["trials"],
            request["seed"],
            COST_MODELS[request.get("cost_model", "random")],
        )
        if any(s.stopped is None for s in searches):
            with tempfile.TemporaryDirectory(prefix="tamis-tune-") as name:
                folder = Path(name)
                workers = usable_threads()
                measuring = _runner(nursery, request.get("device"), settings, has_cold_weights(searches))
                with Builder(nursery, request["target"], folder, workers) as builder, measuring as runner:
                    search(searches, builder, runner, folder, report, request.get("seconds"))
    return summary(searches)


def has_cold_weights(searches: Sequence[KernelSearch]) -> bool:
    """Whether a call of the model reads more weights than stay in a core's own cache until the next one."""
    return sum(s.task.weight * s.task.constant_bytes for s in searches) > CACHED_BYTES


def _runner(nursery: Nursery, device: dict[str, Any] | None, settings: Settings, cold: bool) -> Runner:
    return Runner(nursery, cold=cold) if device is None else DeviceRunner(nursery, device, settings.threads)


def make_searches(
    module: tvm.IRModule,
    target: tvm.target.Target,
    known: Mapping[str, Stored],
    trials: int,
    seed: int,
    cost_model: Callable[[int], ms.cost_model.CostModel],
) -> list[KernelSearch]:
    """A search for each kernel of a module that the front passes made."""
    model = cost_model(seed)
    return [KernelSearch(task, target, model, trials, seed, known.get(task.digest)) for task in extract_tasks(module)]


def summary(searches: Sequence[KernelSearch]) -> dict[str, Any]:
    """What a search came to: how many kernels, trials and failures, and the model's time before and after."""
    return {
        "kernels": len(searches),
        "trials": sum(s.measured - s.earlier for s in searches),
        "failed": sum(s.failed for s in searches),
        "default_ms": model_ms(searches, default=True),
        "estimated_ms": model_ms(searches),
    }
