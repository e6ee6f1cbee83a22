"""``python -m benchmarks.tvm_kernels``: what each kernel of a model takes under TVM, and how fast it computes.

Kernels are measured as a search measures them: alone, with cold weights if the model has many. The rate is over the operations that TVM counts
in the kernel.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lowered import lowered
from tamis.compiler.cli.output import table
from tamis.compiler.model_file import load_model
from tamis.targets.hardware.host import detect
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.layout import LAYOUTS, preferred_layout
from tamis.targets.tvm.machine_target import machine_target


def main() -> None:
    """Print a row a kernel, those that take most first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tvm_kernels", description=__doc__)
    parser.add_argument("model", help="of the zoo")
    parser.add_argument("--layout", choices=LAYOUTS, help="default: as without tuning")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trials", type=int, default=1, help="for each kernel; 1 is its default schedule")
    parser.add_argument("--rows", type=int, default=25, help="how many kernels are listed")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        CompilerProcess(chosen.threads, "benchmarks.tvm_kernels.child") as tvm,
    ):
        path = lowered(chosen.model, Path(folder) / "model.onnx")
        chosen.layout = chosen.layout or preferred_layout(load_model(path), detect())
        target = machine_target(detect(), chosen.threads)
        asked = {name: getattr(chosen, name) for name in ("layout", "threads", "trials")}
        show(tvm.request("profile", {**asked, "model": str(path), "target": target})["kernels"], chosen.rows)


def show(kernels: list[dict[str, Any]], count: int) -> None:
    """Print the table of the ``count`` kernels that take most of the model's time."""
    found = sorted((k for k in kernels if k["best_us"]), key=_cost, reverse=True)
    total = sum(map(_cost, found))
    head = ("share", "calls", "us", "default us", "GFLOP/s", "kernel", "parameters")
    rows = [
        (
            f"{_cost(k) / total:.1%}",
            str(k["weight"]),
            f"{k['best_us']:.1f}",
            f"{k['default_us']:.1f}",
            f"{k['mflop'] * 1e3 / k['best_us']:.1f}",
            k["name"],
            " ".join(k["shapes"]),
        )
        for k in found[:count]
    ]
    table(head, rows)
    default = sum(k["weight"] * k["default_us"] for k in found)
    print(f"{len(found)} kernels, {total / 1000:.3f} ms; by their default schedules {default / 1000:.3f} ms")


def _cost(kernel: dict[str, Any]) -> float:
    return float(kernel["weight"] * kernel["best_us"])


if __name__ == "__main__":
    main()
