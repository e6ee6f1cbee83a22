"""How long the passes of ``lossless`` take, without verification, against onnxslim on the same file.

Both load the model, fix its shapes, rewrite it and save it; in turn, in one process, after one round of both that is not
counted. Goal: below 1 for every model.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.optimizers import by_onnxslim
from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.fetch import FetchError
from benchmarks.zoo.folder import build
from tamis.compiler.cli.output import table
from tamis.compiler.graph_pass import GraphPass, PassContext
from tamis.compiler.model_file import load_model, save_model
from tamis.compiler.prepare import prepare
from tamis.compiler.recipe_file import load_recipe

ROUNDS = 5


def rewrite(source: Path, result: Path, steps: Sequence[GraphPass[Any]], context: PassContext) -> None:
    """Load, take the steps, save."""
    model = load_model(source)
    for step in steps:
        step(model, context)
    save_model(model, result)


def seconds(call: Callable[[], None]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print a row a model."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for model in MODULES:
            try:
                folder = build(entry(model))
            except FetchError as error:
                rows.append((model, f"not there: {error}"))
                continue
            made = prepare(load_recipe(folder / "recipe.yaml"))
            (plan,) = made.plans
            steps = (*plan.steps, *plan.target.runtime.legalize_passes(plan.target.machine))
            work = partial(rewrite, folder / "model.onnx", scratch / "ours.onnx", steps, made.context(plan.target))
            shapes = {k: list(v.shape) for k, v in made.samples(1)[0].items()}

            other = partial(by_onnxslim, folder / "model.onnx", scratch / "theirs.onnx", shapes)
            work(), other()
            ratios = sorted(seconds(work) / seconds(other) for _ in range(ROUNDS))
            rows.append((model, f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"))
            print(*rows[-1], flush=True)
    table(("model", "time of tamis / time of onnxslim, median of pairs (range)"), rows)


if __name__ == "__main__":
    main()
