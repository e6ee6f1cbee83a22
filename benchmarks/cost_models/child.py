"""The compiler process of the comparison: searches a few kernels only. Imports TVM."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tvm

from tamis.targets.tvm import child_main
from tamis.targets.tvm.importing import Report, import_model
from tamis.targets.tvm.pipeline import FRONT, run_phases
from tamis.targets.tvm.settings import Settings
from tamis.targets.tvm.tuning.builder import Builder
from tamis.targets.tvm.tuning.kernel_search import KernelSearch
from tamis.targets.tvm.tuning.runner import Runner
from tamis.targets.tvm.tuning.search import search
from tamis.targets.tvm.tuning.tasks import extract_tasks
from tamis.targets.tvm.tuning.tune import COST_MODELS
from tamis.targets.tvm.tuning.workers import Nursery


def race(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Search the kernels of a model with the most arithmetic, by one cost model.

    Args:
        arguments: ``model``, ``target``, ``layout``, ``kernels`` (how many), ``trials``, ``seed`` and ``cost_model``.
        report: Gets what the search reports.

    Returns:
        For each kernel the time of the default schedule and of the best one, in microseconds.
    """
    target = tvm.target.Target(arguments["target"])
    settings = Settings(threads=2, layout=arguments["layout"])
    module = run_phases(import_model(Path(arguments["model"]), report), FRONT, target, settings, report)
    tasks = sorted(extract_tasks(module), key=lambda t: t.flops * t.weight, reverse=True)[: arguments["kernels"]]
    seed, trials = arguments["seed"], arguments["trials"]
    model = COST_MODELS[arguments["cost_model"]](seed)
    searches = [KernelSearch(task, target, model, trials, seed) for task in tasks]
    with (
        Nursery() as nursery,
        tempfile.TemporaryDirectory() as folder,
        Builder(nursery, arguments["target"], Path(folder), 2) as builder,
        Runner(nursery) as runner,
    ):
        search(searches, builder, runner, Path(folder), report)
    return {s.task.name: {"default_us": s.default_us, "best_us": s.best_us, "trials": s.measured} for s in searches}


child_main.COMMANDS |= {"race": "benchmarks.cost_models.child:race"}

if __name__ == "__main__":
    child_main.main()
