"""Passes and verification of PP-OCRv4's recogniser against the least work that any prover would have to do.

The yardstick is onnxsim's simplify, two ONNX Runtime sessions with all optimizations off (the model as
given and the simplified one), and the forward passes that verification needs: on every input, one of the model as given
and one for each step that changed it, of the simplified model. Both sides run in turn, in one process, on the same
inputs. Goal: a ratio of at most 3. Beside it stands the ratio with one forward pass of the simplified model only.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import onnxsim

from benchmarks.zoo.entries import entry
from benchmarks.zoo.folder import build
from tamis.compiler.adversarial import adversarial_feeds
from tamis.compiler.apply_steps import VERIFY_SAMPLES
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.judge import Judge
from tamis.compiler.phases import Phases
from tamis.compiler.pipeline import Pipeline
from tamis.compiler.prepare import Prepared, prepare
from tamis.compiler.recipe_file import load_recipe
from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import Verifier

ROUNDS = 5
SETS = {
    "data": {"calibration": {"npz": "calibration.npz"}},
    "passes": ["canonicalize", {"fuse": {"guard": "off"}}],
}


def yardstick(path: Path, feeds: list[Feeds], steps: int) -> float:
    """Seconds of simplify, two sessions and the forward passes for ``steps`` steps."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    start = time.perf_counter()
    given = onnx.load(path)
    simple, _ = onnxsim.simplify(given, overwrite_input_shapes={"x": [1, 3, 48, 320]})
    for model, rounds in ((given, 1), (simple, steps)):
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for one in feeds * rounds:
            session.run(None, dict(one))
    return time.perf_counter() - start


def ours(folder: Path) -> tuple[float, Phases, int]:
    """Seconds of loading, reference, passes and verification, where they went, and how many steps changed the model."""
    phases = Phases()
    start = time.perf_counter()
    with phases.phase("load"):
        made = prepare(load_recipe(folder / "recipe.yaml", sets=SETS))
    plan = made.plans[0]
    runtime = runtime_class(REFERENCE_RUNTIME)()
    with phases.phase("reference"):
        samples = made.samples(VERIFY_SAMPLES)
        cases = adversarial_feeds(made.spec, made.recipe.seed)
        verifier = Verifier(lambda m: runtime.load_model(m, optimize=False), made.model, samples, cases)
    with TuningDatabase() as database:
        judge = Judge(plan.target, verifier, samples[0], None, None, None, database, quiet=True)
        pipeline = Pipeline(replace(made.context(plan.target), judge=judge), verifier, judge, phases, quiet=True)
        outcome = pipeline.run(made.model, plan.steps)
    return time.perf_counter() - start, phases, sum(record.verdict == "kept" for record in outcome.records)


def inputs(made: Prepared) -> list[Feeds]:
    """Every input that verification runs."""
    return [*made.samples(VERIFY_SAMPLES), *(f for _, f in adversarial_feeds(made.spec, made.recipe.seed))]


def main() -> None:
    """Print the ratio and the seconds of each phase."""
    folder = build(entry("ppocr-rec"))
    feeds = inputs(prepare(load_recipe(folder / "recipe.yaml", sets=SETS)))
    path = folder / "model.onnx"
    _, phases, steps = ours(folder)  # imports and page cache
    yardstick(path, feeds, 1)
    needed, once = [], []
    for _ in range(ROUNDS):
        seconds, phases, _ = ours(folder)
        needed.append(seconds / yardstick(path, feeds, steps))
        once.append(seconds / yardstick(path, feeds, 1))
    print(f"tamis (passes + verification of {steps} steps on {len(feeds)} inputs) / yardstick, {ROUNDS} pairs:")
    for label, ratios in (("as many forward passes", needed), ("one of the simplified model", once)):
        print(f"  {label}: median {statistics.median(ratios):.2f}, min {min(ratios):.2f}, max {max(ratios):.2f}")
    print("  goal: at most 3 with as many forward passes")
    for name, value in phases.seconds.items():
        print(f"  {name:<24} {value / sum(phases.seconds.values()):6.1%}")


if __name__ == "__main__":
    main()
