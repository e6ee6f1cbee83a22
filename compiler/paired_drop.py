"""How much a candidate loses of the task metric against a reference, how sure that is, and no longer than it takes.

Both models are scored on the same samples, so what makes a sample hard cancels. The standard error of the drop is that
of random groups: the samples, in the order of their file, are cut into blocks, each block gives a drop of its own, and
their spread tells. That holds for any metric that can be computed on a part of the samples, means or not, and neighbours
that are alike (frames of a clip) fall into one block.

Samples are looked at in a random order, so that a part of them stands for all. A candidate that is so far over a limit
after a part that the rest will not save it is given up there.

*References.* Wolter, Introduction to Variance Estimation, 2nd ed. 2007, chapter 2 (random groups).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.compiler.errors import DataError
from tamis.compiler.evaluate import Evaluation
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.metrics import get_metric
from tamis.compiler.progress import Progress
from tamis.compiler.target import Runner

GROUPS = 10
STAGES = (0.25, 0.5)
"""Parts of the samples after which a candidate may be given up."""
SURE = 3.0
"""Standard errors over the limit that a candidate is given up at: one in 130 by Student's t with 9 degrees of freedom."""
MEMORY = 256 << 20
"""Samples of more bytes are read anew each time, in the order of their file, and never given up early."""

Labels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drop:
    """A loss of the task metric; positive is worse.

    Args:
        value: Over the samples that were looked at.
        error: Its standard error; None where the metric has no value on a part of the samples.
        samples: How many were looked at.
    """

    value: float
    error: float | None
    samples: int


@dataclass(frozen=True)
class _Scores:
    """A metric over the samples so far, and over each block of them; None where it has no value."""

    whole: float
    blocks: tuple[float, ...] | None


class PairedDrop:
    """Scores candidates against one reference.

    Args:
        evaluation: Labelled samples and the metric.
        reference: What candidates are compared with.
        baseline: The metric that drops are counted from; the reference may have lost something already.
        seed: Of the order of samples.
        quiet: No progress bars.
    """

    def __init__(
        self, evaluation: Evaluation, reference: Runner, baseline: float, *, seed: int = 0, quiet: bool = False
    ) -> None:
        self._evaluation, self._quiet = evaluation, quiet
        metric = get_metric(evaluation.metric)
        self._in_parts = not getattr(metric, "relates_samples", False)
        count = len(evaluation.samples)
        self._kept = self._keep(seed) if self._in_parts else None
        stages = {max(GROUPS, int(count * part)) for part in STAGES} if self._kept is not None else set()
        self._stages = tuple(sorted({stage for stage in stages if stage < count} | {count}))
        self._reference = list(self._scores(reference))
        self._offset = evaluation.drop(baseline, self._reference[-1].whole)

    def measure(self, candidate: Runner, limit: float = np.inf) -> Drop:
        """The drop of ``candidate``, over a part of the samples if it is surely above ``limit``.

        Raises:
            DataError: The metric has no value on the samples.
            RuntimeFailureError: The candidate fails on one of them.
        """
        found = Drop(np.inf, None, 0)
        for stage, before, after in zip(self._stages, self._reference, self._scores(candidate), strict=False):
            found = self._drop(stage, before, after)
            if found.error is not None and found.value - SURE * found.error > limit:
                break
        return found

    def _drop(self, samples: int, before: _Scores, after: _Scores) -> Drop:
        drop = self._evaluation.drop
        value = drop(before.whole, after.whole) + self._offset
        if before.blocks is None or after.blocks is None or len(before.blocks) < 2:
            return Drop(value, None, samples)
        drops = [drop(a, b) for a, b in zip(before.blocks, after.blocks, strict=True)]
        return Drop(value, float(np.std(drops, ddof=1) / np.sqrt(len(drops))), samples)

    def _scores(self, runner: Runner) -> Iterator[_Scores]:
        """At each stage."""
        name, count = self._evaluation.metric, len(self._evaluation.samples)
        whole = get_metric(name)
        blocks = [get_metric(name) for _ in range(min(GROUPS, count))] if self._in_parts else []
        with Progress(f"evaluating {name}", quiet=self._quiet) as progress:
            for done, (i, feeds, labels) in enumerate(self._samples(), 1):
                outputs = runner(feeds)
                whole.update(outputs, labels)
                if blocks:
                    blocks[i * len(blocks) // count].update(outputs, labels)
                progress.update(done / count, f"{done}/{count}")
                if done in self._stages:
                    try:
                        parts = tuple(block.result() for block in blocks) or None
                    except DataError:  # a block, for example, without a positive
                        parts = None
                    yield _Scores(whole.result() if parts or done == count else np.nan, parts)

    def _samples(self) -> Iterator[tuple[int, Feeds, Labels]]:
        if self._kept is not None:
            yield from self._kept
            return
        samples = self._evaluation.samples
        for i, feeds in enumerate(samples):
            yield i, feeds, samples.labels(i)

    def _keep(self, seed: int) -> list[tuple[int, Feeds, Labels]] | None:
        """All samples in random order; None if they are too large."""
        samples, found, size = self._evaluation.samples, [], 0
        for i, feeds in enumerate(samples):
            size += sum(array.nbytes for array in feeds.values())
            if size > MEMORY:
                return None
            found.append((i, feeds, samples.labels(i)))
        return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
