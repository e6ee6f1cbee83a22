"""Is a measured mix better than simpler ones: all units in integers, by SQNR alone, at random, at the same budget?

``python -m benchmarks.quantization.mix_baselines [--models ppocr-rec] [--max-drop 0.005] [--json FILE]``

All see the selection half of the labelled data, with the same margin; the drop shown is that of the test half. *By SQNR*
and *random* put units into integers in one order as long as the budget holds, found by bisection. Speed is over the same
model in float, fused, one thread, in pairs.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import yaml

from benchmarks.side_by_side.split import split
from tamis.compiler.analysis.subject import name_nodes
from tamis.compiler.cli.output import table
from tamis.compiler.evaluate import Evaluation
from tamis.compiler.graph_pass import PassContext, PassResult
from tamis.compiler.judge import Judge
from tamis.compiler.overrides import load_for
from tamis.compiler.phases import Phases
from tamis.compiler.pipeline import Pipeline
from tamis.compiler.prepare import Prepared, prepare
from tamis.compiler.runnable import load_for_scores, load_unoptimized
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import Verifier
from tamis.passes.judging.accuracy import AccuracyLook
from tamis.passes.quantization.quantize_static import QuantizeStatic

ZOO = Path.home() / ".cache" / "tamis" / "zoo"
SEEDS = 3


class Bench:
    """One model after the steps before quantization.

    Args:
        name: Of the zoo.
        work: A folder for its data.
        max_drop: Of the task metric.
    """

    def __init__(self, name: str, work: Path, max_drop: float) -> None:
        split(name, ZOO / name, work)
        recipe = yaml.safe_load((ZOO / name / "recipe.yaml").read_text(encoding="utf-8"))
        metric = recipe["data"]["evaluation"]["metric"]
        recipe |= {"extends": "mixed", "model": str(ZOO / name / "model.onnx")}
        recipe["targets"] = [{"machine": "host", "options": {"threads": 1}}]
        recipe["data"] = {
            "calibration": {"npz": str(work / "calibration.npz")},
            "evaluation": {"npz": str(work / "selection.npz"), "metric": metric},
        }
        recipe["budget"] = {"accuracy": {"max_drop": max_drop}}
        self.selection = self._prepared(recipe, work)
        recipe["data"]["evaluation"]["npz"] = str(work / "test.npz")
        self.test = self._prepared(recipe, work)
        self.judge, self.model, self.context = self._start(self.selection, work)

    @staticmethod
    def _prepared(recipe: dict[str, Any], work: Path) -> Prepared:
        path = work / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        return prepare(load_for(str(path), model=None, target=None, data={}, sets=[]))

    @staticmethod
    def _start(made: Prepared, work: Path) -> tuple[Judge, ir.Model, PassContext]:
        plan = made.plans[0]
        samples = made.samples(8)
        verifier = Verifier(load_unoptimized, made.model, samples)
        baseline = _scored(made.evaluation, made.model, plan.target.runtime)
        database = TuningDatabase(work / "tuning.sqlite").__enter__()
        judge = Judge(
            plan.target, verifier, samples[0], made.recipe.budget.accuracy, made.evaluation, baseline, database, True
        )
        context = replace(made.context(plan.target), judge=judge)
        steps = [step for step in plan.steps if step.name != QuantizeStatic.name]
        model = Pipeline(context, verifier, judge, Phases(), quiet=True).run(made.model, tuple(steps)).model
        name_nodes(model)
        return judge, model, context

    def quantized(self, **options: Any) -> PassResult:
        """The model after ``quantize-static``."""
        return QuantizeStatic(QuantizeStatic.options_type(**options))(self.model.clone(), self.context)

    def only(self, names: Sequence[str]) -> ir.Model:
        """The model with the named units in integers."""
        if not names:
            return self.model
        return self.quantized(include=[glob.escape(name) for name in names], allow_float=["*"]).model

    def longest(self, order: Sequence[str]) -> list[str]:
        """The first units of ``order``, as many as hold the budget."""
        look = AccuracyLook(self.judge, self.model, 0)
        low, high = 0, len(order) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if look(self.only(order[:middle])).excess <= 0 else (low, middle)
        return list(order[:low])

    def row(self, way: str, model: ir.Model, units: int, of: int) -> dict[str, Any]:
        """What is shown of one candidate."""
        runtime = self.judge.target.runtime
        evaluation = self.test.evaluation
        assert evaluation is not None
        scores = [_scored(evaluation, m, runtime) for m in (self.test.model, model)]
        ratio = self.judge.speedup(self.model, model, 4.0)
        found = {
            "way": way,
            "units": f"{units} of {of}",
            "speedup": [round(r, 3) for r in (ratio.speedup, ratio.low, ratio.high)],
            "drop": round(self.judge.drop(model) or 0.0, 5),
            "drop_test": round(evaluation.drop(scores[0], scores[1]), 5),
        }
        print(json.dumps(found), file=sys.stderr, flush=True)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """All ways."""
        measured = self.quantized(mix="measured", allow_float=["*"])
        units = [d.place for d in measured.details]
        chosen = [d.place for d in measured.details if d.got == "int8"]
        found = [
            self.row("measured mix", measured.model, len(chosen), len(units)),
            self.row("all in integers", self.only(units), len(units), len(units)),
        ]
        by_sqnr = sorted(measured.details, key=lambda d: -d.figures.get("sqnr_db", np.inf))
        orders = {"by SQNR": [d.place for d in by_sqnr]}
        for seed in range(SEEDS):
            orders[f"random {seed}"] = [str(n) for n in np.random.default_rng(seed).permutation(units)]
        for way, order in orders.items():
            names = self.longest(order)
            found.append(self.row(way, self.only(names), len(names), len(units)))
        return found


def _scored(evaluation: Evaluation | None, model: ir.Model, runtime: Any) -> float:
    assert evaluation is not None
    return evaluation.score(load_for_scores(model, runtime), quiet=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["ppocr-rec"])
    parser.add_argument("--max-drop", type=float, default=0.005)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    everything = {}
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            everything[name] = Bench(name, Path(folder), arguments.max_drop).rows()
        cells = [
            (r["way"], r["units"], "{:.2f}x ({:.2f} to {:.2f})".format(*r["speedup"]), r["drop"], r["drop_test"])
            for r in everything[name]
        ]
        table(("way", "in integers", "speedup", "drop", "drop on test half"), cells, title=name)
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
