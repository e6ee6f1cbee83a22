"""``python -m benchmarks.cost_models``: TVM's learned cost model (xgboost) against random choice, at equal trials.

Both search the same kernels from the same seeds, one after the other, without any record. Needs the package xgboost.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.lowered import lowered
from tamis.compiler.cli.output import table
from tamis.targets.hardware.host import detect
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.machine_target import machine_target

NAMES = ("random", "xgboost")


def main() -> None:
    """Print a row for each kernel: the best times found, their median over the seeds, and the seconds that it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost_models", description=__doc__)
    parser.add_argument("--model", default="ppocr-cls", help="of the zoo")
    parser.add_argument("--kernels", type=int, default=2, help="those with the most arithmetic")
    parser.add_argument("--trials", type=int, default=64, help="for each kernel")
    parser.add_argument("--seeds", type=int, default=3, help="searches by each cost model")
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(chosen, str(lowered(chosen.model, Path(folder) / "model.onnx")))


def compare(chosen: argparse.Namespace, path: str) -> None:
    """Search, and print the table."""
    asked = {name: getattr(chosen, name) for name in ("kernels", "trials", "layout")}
    times: dict[str, dict[str, list[float]]] = {}
    seconds = dict.fromkeys(NAMES, 0.0)
    for seed in range(chosen.seeds):
        for name in NAMES:
            with CompilerProcess(2, "benchmarks.cost_models.child") as process:
                request = {**asked, "model": path, "target": machine_target(detect(), 2), "seed": seed}
                started = time.monotonic()
                found = process.request("race", {**request, "cost_model": name})
                seconds[name] += time.monotonic() - started
            for kernel, result in found.items():
                times.setdefault(kernel, {n: [] for n in ("default", *NAMES)})[name].append(result["best_us"])
                times[kernel]["default"].append(result["default_us"])
    rows = [
        [kernel[:60], *(f"{statistics.median(t):.1f}" for t in columns.values())] for kernel, columns in times.items()
    ]
    table(("kernel, us", "default", *NAMES), [*rows, ["seconds", "", *(f"{seconds[n]:.0f}" for n in NAMES)]])


if __name__ == "__main__":
    main()
