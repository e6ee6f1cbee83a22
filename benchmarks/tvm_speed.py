"""``make bench-tvm``: every model of the zoo through TVM at growing numbers of trials, against ONNX Runtime.

Both sides are what ``-r lossless`` gives on this machine. Ratios are ONNX Runtime's time over TVM's, measured in pairs,
each in a process of its own: above 1, TVM is faster. Trials add up, so a row goes from left to right in one search.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import tamis
from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.folder import build
from tamis.compiler.bundle import open_bundle
from tamis.compiler.cli.output import table
from tamis.compiler.golden import read_golden
from tamis.compiler.loaded_model import bundle_runtime
from tamis.compiler.measure import Call, call_of
from tamis.compiler.measure_loads import compare_loads

TRIALS = (0, 8, 64, 256)
SECONDS = 4.0


def main() -> None:
    """Print a row a model; ``--json`` keeps the samples."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tvm_speed", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODULES), help="which ones (default: the zoo)")
    parser.add_argument("--trials", type=int, nargs="*", default=TRIALS, help="trials a kernel; 0 is untuned")
    parser.add_argument("--one-layout", action="store_true", help="search in the untuned library's layout only")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    rows: list[list[str]] = []
    found: list[dict[str, Any]] = []
    for name in arguments.models:
        results = measure(name, arguments.trials, one_layout=arguments.one_layout)
        found.append({"model": name, "results": results})
        rows.append([name, *(_cell(results[n]) for n in map(str, arguments.trials))])
        print("  ".join(rows[-1]), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    table(("model", *("untuned" if n == 0 else f"{n} trials" for n in arguments.trials)), rows)


def measure(name: str, trials: list[int], *, one_layout: bool) -> dict[str, dict[str, Any]]:
    """Trials -> the ratio with its interval, the layout and the seconds that the compile took, or the error."""
    recipe = build(entry(name)) / "recipe.yaml"
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        reference = Path(scratch) / "onnxruntime"
        tamis.compile(recipe=recipe, out=reference, force=True)
        options: dict[str, Any] = {}
        for count in trials:
            out = Path(scratch) / f"tvm-{count}"
            target = {
                "machine": "host",
                "runtime": "tvm",
                "options": options,
                **({"tune": {"trials": count}} if count else {}),
            }
            started = time.monotonic()
            try:
                tamis.compile(recipe=recipe, out=out, set={"targets": [target]}, force=True)
            except tamis.TamisError as error:
                results[str(count)] = {"error": str(error)}
                continue
            seconds = time.monotonic() - started
            layout = open_bundle(out, check=False).artifact.settings["layout"]
            options = {"layout": layout} if one_layout else {}
            ratio = compare_loads(partial(_call, reference), partial(_call, out), seconds=SECONDS)
            results[str(count)] = {"compile_seconds": round(seconds, 1), "layout": layout, **ratio.to_dict()}
    return results


def _call(path: Path) -> Call:
    bundle = open_bundle(path, check=False)
    return call_of(bundle_runtime(bundle).load(path, bundle.artifact), read_golden(bundle)[0][0])


def _cell(result: dict[str, Any]) -> str:
    if "error" in result:
        return str(result["error"])[:60]
    return f"{result['speedup']:.2f} ({result['low']:.2f} to {result['high']:.2f})"


if __name__ == "__main__":
    main()
