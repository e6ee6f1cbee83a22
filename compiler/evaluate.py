"""The task metric of a model on labelled samples."""

from __future__ import annotations

from dataclasses import dataclass

from tamis.compiler.data_source import Samples
from tamis.compiler.metrics import get_metric
from tamis.compiler.progress import Progress
from tamis.compiler.target import Runner


@dataclass(frozen=True)
class Evaluation:
    """Labelled samples and the metric that judges a model on them."""

    samples: Samples
    metric: str

    def score(self, runner: Runner, *, quiet: bool = False) -> float:
        """The metric of ``runner`` over all samples.

        Raises:
            DataError: Samples have no labels, or none fits the metric.
            RuntimeFailureError: The model fails on a sample.
        """
        metric = get_metric(self.metric)
        with Progress(f"evaluating {self.metric}", quiet=quiet) as progress:
            for i, feeds in enumerate(self.samples):
                metric.update(runner(feeds), self.samples.labels(i))
                progress.update((i + 1) / len(self.samples), f"{i + 1}/{len(self.samples)}")
        return metric.result()

    def drop(self, before: float, after: float) -> float:
        """Loss of the metric; positive is worse, whichever direction the metric has."""
        return before - after if get_metric(self.metric).higher_is_better else after - before
