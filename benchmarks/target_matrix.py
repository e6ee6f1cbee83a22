"""``make bench-targets``: every model of the zoo through TVM on this machine and on an emulated ARM one.

A model that TVM can take must give the right outputs on both; one that it cannot take must end in the list of nodes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import tamis
from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.folder import build
from tamis.compiler.cli.output import table

TARGETS: dict[str, dict[str, Any]] = {
    "x86, tvm": {"machine": "host", "runtime": "tvm"},
    "cortex-a72, tvm": {"machine": "cortex-a72", "runtime": "tvm", "link": "qemu"},
    "neoverse-n1, tvm": {"machine": "neoverse-n1", "runtime": "tvm", "link": "qemu"},
    "cortex-a72, onnxruntime": {"machine": "cortex-a72", "runtime": "onnxruntime", "link": "qemu"},
}
SAMPLES = 2
"""Samples that results are proven on; an emulated model is slow."""


def main() -> None:
    """Print the table; status 1 if a model gives wrong results, or fails in another way than by the list of nodes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.target_matrix", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODULES), help="which ones (default: the zoo)")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS), help="which targets")
    arguments = parser.parse_args()
    rows: list[list[str]] = []
    failed = False
    for name in arguments.models:
        folder = build(entry(name))
        row = [name]
        for target in arguments.targets:
            cell, ok = attempt(folder, TARGETS[target])
            row.append(cell)
            failed |= not ok
        rows.append(row)
        print("  ".join(row), flush=True)
    table(("model", *arguments.targets), rows)
    sys.exit(failed)


def attempt(folder: Path, target: dict[str, Any]) -> tuple[str, bool]:
    """What became of one model on one target, and whether that is as it should be."""
    sets = {"targets": [target], "data.evaluation": None, "data.calibration.samples": SAMPLES, "budget": None}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            bundle = tamis.compile(recipe=folder / "recipe.yaml", out=Path(scratch) / "out", set=sets, force=True)
            replays = tamis.verify(Path(scratch) / "out").replays
        except tamis.LoweringError as error:
            return str(error), "cannot run" in str(error)
        except tamis.TamisError as error:
            return f"{error.code} {error}", False
    return f"{bundle.report.drift:.1e}, {sum(r.ok for r in replays)} of {len(replays)} golden", True


if __name__ == "__main__":
    main()
