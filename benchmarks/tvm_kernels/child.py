"""The compiler process of the profile: searches every kernel of a model and says what each takes. Imports TVM."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import tvm

from tamis.targets.hardware.cpu_limits import usable_threads
from tamis.targets.tvm import child_main
from tamis.targets.tvm.importing import Report, import_model
from tamis.targets.tvm.pipeline import FRONT, run_phases
from tamis.targets.tvm.settings import Settings
from tamis.targets.tvm.tuning.builder import Builder
from tamis.targets.tvm.tuning.kernel_search import KernelSearch
from tamis.targets.tvm.tuning.runner import Runner
from tamis.targets.tvm.tuning.search import search
from tamis.targets.tvm.tuning.tune import COST_MODELS, has_cold_weights, make_searches
from tamis.targets.tvm.tuning.workers import Nursery


def profile(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Measure the default schedule of every kernel, and what a search finds.

    Args:
        arguments: ``model``, ``target``, ``layout``, ``threads`` and ``trials`` (1: the default schedule only).
        report: Gets what the search reports.

    Returns:
        ``kernels``, each with ``name``, ``shapes`` (of its parameters), ``weight`` (calls), ``mflop`` (a call),
        ``default_us``, ``best_us`` and ``trials``.
    """
    target = tvm.target.Target(arguments["target"])
    settings = Settings(threads=arguments["threads"], layout=arguments["layout"])
    module = run_phases(import_model(Path(arguments["model"]), report), FRONT, target, settings, report)
    searches = make_searches(module, target, {}, arguments["trials"], 0, COST_MODELS["random"])
    with (
        Nursery() as nursery,
        tempfile.TemporaryDirectory() as folder,
        Builder(nursery, arguments["target"], Path(folder), usable_threads()) as builder,
        Runner(nursery, cold=has_cold_weights(searches)) as runner,
    ):
        search(searches, builder, runner, Path(folder), report)
    return {"kernels": [_row(s) for s in searches]}


def _row(found: KernelSearch) -> dict[str, Any]:
    task = found.task
    shapes = ["x".join(str(int(n)) for n in p.shape) for p in task.module["main"].params]
    times = {"default_us": found.default_us, "best_us": found.best_us}
    return {
        "name": task.name,
        "shapes": shapes,
        "weight": task.weight,
        "mflop": task.flops / 1e6,
        "trials": found.measured,
        **{k: t if math.isfinite(t) else None for k, t in times.items()},
    }


child_main.COMMANDS |= {"profile": "benchmarks.tvm_kernels.child:profile"}

if __name__ == "__main__":
    child_main.main()
