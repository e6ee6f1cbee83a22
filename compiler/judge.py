"""What a compile can tell a pass of a candidate: its accuracy on the task, its speed on the target, its noise.

Passes that search (which layers get 8 bits, how many channels go) decide by these figures and not by stand-ins.
Speed is that of the model after the runtime's legalization, since only so does it run in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.errors import RuntimeFailureError, TamisError
from tamis.compiler.evaluate import Evaluation
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.measure import call_of, compare
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.paired_drop import Drop, PairedDrop
from tamis.compiler.progress import Progress
from tamis.compiler.recipe import AccuracyBudget
from tamis.compiler.runnable import load_for_scores
from tamis.compiler.target import NodeTime, Target
from tamis.compiler.timings import Comparison
from tamis.compiler.tuning_database import TuningDatabase, fingerprint_digest
from tamis.compiler.verify import Verifier

ROUGH_PAIRS = 12


@dataclass(frozen=True)
class Judge:
    """The figures that decide, for one target.

    Args:
        target: The machine and runtime to measure on.
        verifier: Knows the outputs of the model as given.
        feeds: The inputs to measure with.
        accuracy: The accuracy budget, if any.
        evaluation: Labelled samples, if any.
        baseline: The task metric of the model as given; None without labelled samples.
        database: Remembers decisions.
        quiet: No progress bars.
    """

    target: Target
    verifier: Verifier
    feeds: Feeds
    accuracy: AccuracyBudget | None
    evaluation: Evaluation | None
    baseline: float | None
    database: TuningDatabase
    quiet: bool = False

    @property
    def max_drop(self) -> float | None:
        """Largest loss of the task metric that the recipe allows."""
        return self.accuracy.max_drop if self.accuracy else None

    @property
    def min_sqnr(self) -> float | None:
        """Smallest signal-to-noise ratio of the outputs that the recipe allows, dB."""
        return self.accuracy.min_sqnr if self.accuracy else None

    @property
    def measures(self) -> bool:
        """Whether single steps can be timed on the target: not over an emulator, nor before schedules are tuned."""
        return self.target.runtime.measures_steps and self.target.link.measures

    def score(self, model: ir.Model) -> float | None:
        """The task metric of a model; None without labelled samples."""
        if self.evaluation is None:
            return None
        return self.evaluation.score(load_for_scores(model, self.target.runtime), quiet=self.quiet)

    def drop(self, model: ir.Model) -> float | None:
        """Loss of the task metric against the model as given, positive is worse; None without labelled samples."""
        score = self.score(model)
        if score is None or self.evaluation is None or self.baseline is None:
            return None
        return self.evaluation.drop(self.baseline, score)

    def drop_meter(self, reference: ir.Model, seed: int = 0) -> Callable[[ir.Model, float], Drop] | None:
        """Tells the drop of candidates with its standard error, in pairs with ``reference``; see ``PairedDrop``.

        What it gives takes a candidate and the limit over which the drop need not be known exactly; None without labelled
        samples.
        """
        if self.evaluation is None or self.baseline is None:
            return None
        runtime = self.target.runtime
        paired = PairedDrop(
            self.evaluation, load_for_scores(reference, runtime), self.baseline, seed=seed, quiet=self.quiet
        )
        return lambda model, limit: paired.measure(load_for_scores(model, runtime), limit)

    def sqnr_db(self, model: ir.Model) -> float:
        """Signal-to-noise ratio over the user's samples, of the worst output against the model as given, dB.

        Minus infinity if the model fails on one of them.
        """
        try:
            return self.verifier.sqnr_db(load_for_scores(model, self.target.runtime))
        except RuntimeFailureError:
            return -math.inf

    def speedup(self, before: ir.Model, after: ir.Model, seconds: float = 3.0, *, legalize: bool = True) -> Comparison:
        """``before`` over ``after`` on the target, in pairs, both legalized for its runtime or as they are."""
        models = [self.legalized(model) for model in (before, after)] if legalize else [before, after]
        runtime = self.target.runtime
        return compare_loads(
            lambda: call_of(runtime.load_model(models[0]), self.feeds),
            lambda: call_of(runtime.load_model(models[1]), self.feeds),
            seconds=seconds,
        )

    def rough_speedup(self, before: ir.Model, after: ir.Model, seconds: float = 1.0) -> Comparison:
        """As ``speedup`` of legalized models, with one load of each and few pairs: to rank candidates, not to report."""
        runtime = self.target.runtime
        calls = [call_of(runtime.load_model(model), self.feeds) for model in (before, after)]
        return compare(calls[0], calls[1], seconds=seconds, min_pairs=ROUGH_PAIRS)

    def kernel_times(self, model: ir.Model, seconds: float = 2.0, *, legalize: bool = True) -> list[NodeTime]:
        """Time of each kernel of the legalized model; nodes that legalization replaced are under their new names."""
        legalized = self.legalized(model) if legalize else model
        with Progress("timing kernels", quiet=self.quiet) as progress:
            return self.target.runtime.profile(
                legalized, self.feeds, self.target.machine, seconds, progress.update, optimize=True
            )

    def legalized(self, model: ir.Model) -> ir.Model:
        """A clone in the forms that the runtime likes. A step that fails is left out: when its turn comes in the
        compile, it fails again and is recorded."""
        current = model.clone()
        context = PassContext(target=self.target)
        for step in self.target.runtime.legalize_passes(self.target.machine):
            candidate = current.clone()
            try:
                step(candidate, context)
            except TamisError:
                continue
            current = candidate
        return current

    def decide(
        self, kind: str, workload: Mapping[str, str], compute: Callable[[], Mapping[str, JsonValue]]
    ) -> dict[str, JsonValue]:
        """A decision that rests on measurements, taken once for a workload and a target: rebuilds decide the same.

        Args:
            kind: Of the decision, e.g. ``mix``.
            workload: What it depends on, digests and options.
            compute: Takes it.
        """
        shapes = {name: list(np.shape(array)) for name, array in self.feeds.items()}
        digest = fingerprint_digest({**workload, "shapes": str(shapes)})
        fingerprint = self.target.runtime.fingerprint(self.target.machine)
        record, _ = self.database.decide(kind, digest, fingerprint, lambda: (compute(), {}))
        return dict(record.value)
