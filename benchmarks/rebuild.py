"""What a rebuild costs: nothing changed, a touched model, another option of the last step; whole processes, every model.

*Up to date* is the time of ``tamis compile`` when nothing has changed, over that of ``python -c pass`` and in seconds of this
machine, the median of several runs. *Reused* are the steps that were not taken again when an option of the recipe's last
step had changed, of all steps in front of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.folder import build
from tamis.compiler.cli.output import table
from tamis.compiler.recipe_file import load_recipe

RUNS = 5


def main() -> None:
    """Print a row a model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODULES), help="which ones (default: the zoo)")
    headers = ("model", "build, s", "up to date, s", "over python", "touched", "steps reused", "rebuild / build")
    rows = [measure(name) for name in parser.parse_args().models]
    table(headers, rows)


def measure(name: str) -> list[str]:
    """One row."""
    recipe = build(entry(name)) / "recipe.yaml"
    last = load_recipe(recipe).recipe.passes[-1]
    other = "error" if last.options["on_violation"] == "skip" else "skip"
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        out = Path(folder) / "out"
        first, _ = timed(cache, "compile", str(recipe), "-o", str(out), "--json")
        again = [timed(cache, "compile", str(recipe), "-o", str(out)) for _ in range(RUNS)]
        if any(not text.startswith("up to date") for _, text in again):
            raise SystemExit(f"{name} was built again although nothing had changed")
        os.utime(recipe.parent / "model.onnx")
        touched = timed(cache, "compile", str(recipe), "-o", str(out))[1].startswith("up to date")
        change = f"passes.{last.name}.on_violation={other}"
        changed, _ = timed(cache, "compile", str(recipe), "-o", str(out), "--json", "--set", change)
        reused = json.loads((out / "measurements.json").read_text())["reused_steps"]
        steps = [step["name"] for step in json.loads((out / "bundle.json").read_text())["steps"]]
    seconds = statistics.median(s for s, _ in again)
    python = statistics.median(bare() for _ in range(RUNS))
    before = len(steps) - 1 - steps[::-1].index(last.name)
    return [
        name,
        f"{first:.1f}",
        f"{seconds:.2f}",
        f"{seconds / python:.0f}x",
        "up to date" if touched else "BUILT AGAIN",
        f"{reused} of {before}",
        f"{changed / first:.2f}",
    ]


def timed(cache: Path, *arguments: str) -> tuple[float, str]:
    """Seconds and output of a ``tamis`` command."""
    environment = os.environ | {"TAMIS_CACHE": "on", "TAMIS_CACHE_DIR": str(cache)}
    begun = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "tamis", *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - begun, ran.stdout


def bare() -> float:
    """Seconds of an interpreter that does nothing."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
