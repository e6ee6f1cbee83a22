"""How much the outputs of a model suffer when one unit alone is quantized.

The noise power of an output is ``sum (y - y_i)^2 / sum y^2`` over some samples; of several outputs, the worst counts.
Where the output is a distribution over classes, or logits of one, the Kullback-Leibler divergence is measured too: it
counts what changes the answer, and not what softmax forgets. Both grow with the square of the error, so that they
nearly add up over units that are quantized together.

*References.* Pandey et al., A practical mixed precision algorithm for post-training quantization, 2023 (2302.05397).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import RuntimeFailureError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.target import Runner

Array = np.ndarray[Any, np.dtype[Any]]
Outputs = Mapping[str, Array]
Kind = Literal["probabilities", "logits"]

SAMPLES = 8
"""Enough to rank units; each costs one run a unit."""
FEWEST = 4
SECONDS = 8.0
"""If all samples would take longer in all variants, fewer are run."""
LOOKED_AT = 256
"""Samples that these are drawn from."""
TINY = 1e-12
"""Probabilities are not smaller in the divergence."""
TIE_BREAKER = 0.01
"""Weight of the noise beside the divergence, which can be 0 for units that still add noise."""
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing one unit costs.

    Args:
        noise: Noise power over signal power, of the worst output; infinity if an output is no longer finite.
        divergence: Mean Kullback-Leibler divergence a distribution, nats; None where no output is one.
    """

    noise: float
    divergence: float | None = None

    @property
    def sqnr_db(self) -> float:
        """Signal-to-noise ratio, dB."""
        return -10 * math.log10(self.noise) if self.noise > 0 else math.inf


def draw_samples(samples: Iterable[Feeds], seed: int, count: int = SAMPLES) -> list[Feeds]:
    """``count`` of the first ``LOOKED_AT`` samples in their order, each with the same chance; all if there are fewer."""
    random = np.random.default_rng(seed)
    kept: list[tuple[int, Feeds]] = []
    for i, feeds in zip(range(LOOKED_AT), samples, strict=False):
        if i < count:
            kept.append((i, feeds))
        elif (place := int(random.integers(0, i + 1))) < count:
            kept[place] = (i, feeds)
    return [feeds for _, feeds in sorted(kept, key=lambda pair: pair[0])]


def fewer(samples: Sequence[Feeds], seconds: float) -> Sequence[Feeds]:
    """As many of the samples as variants should run on, at least ``FEWEST``.

    Args:
        samples: In any order.
        seconds: What all of them take in all variants.
    """
    affordable = int(len(samples) * SECONDS / max(seconds, SECONDS))
    return samples[: max(affordable, FEWEST)]


def measure_sensitivities(
    reference: Runner,
    variants: Sequence[Callable[[], Runner]],
    samples: Sequence[Feeds],
    kinds: Mapping[str, Kind],
    progress: Callable[[float, str], None],
) -> Iterator[Sensitivity]:
    """One for each variant; one variant is loaded at a time.

    Args:
        reference: The model without quantization; its outputs on ``samples`` are kept.
        variants: Each loads the model with one unit quantized.
        samples: What to run.
        kinds: Outputs that are distributions, or logits of one.
        progress: Gets (fraction done, a note).
    """
    wanted = [reference(feeds) for feeds in samples]
    for i, load in enumerate(variants):
        runner = load()
        try:
            found = [runner(feeds) for feeds in samples]
        except RuntimeFailureError:
            yield Sensitivity(math.inf)
        else:
            yield compare(wanted, found, kinds)
        del runner
        progress((i + 1) / len(variants), f"{i + 1}/{len(variants)}")


def compare(wanted: Sequence[Outputs], found: Sequence[Outputs], kinds: Mapping[str, Kind]) -> Sensitivity:
    """Outputs of a variant against those of the reference, sample by sample."""
    noises, divergences = [], []
    for name in wanted[0]:
        pairs = [(w[name], f[name]) for w, f in zip(wanted, found, strict=True)]
        noises.append(noise_power(pairs))
        if name in kinds:
            divergences.append(divergence(pairs, kinds[name]))
    noise = max(noises, default=0.0)
    whole = sum(divergences) if divergences else None
    return Sensitivity(noise, whole if whole is None or math.isfinite(noise) else math.inf)


def damage_of(sensitivities: Sequence[Sensitivity]) -> list[float]:
    """One number a unit: its part of all divergence if that is known, with the noise to break ties; else its noise."""
    noises = [s.noise for s in sensitivities]
    divergences = [s.divergence for s in sensitivities if s.divergence is not None]
    if len(divergences) < len(noises):
        return noises
    totals = [sum(v for v in values if math.isfinite(v)) or 1.0 for values in (divergences, noises)]
    return [d / totals[0] + TIE_BREAKER * n / totals[1] for d, n in zip(divergences, noises, strict=True)]


def noise_power(pairs: Sequence[tuple[Array, Array]]) -> float:
    """Noise over signal of (wanted, found) of one output; of numbers that are no floats, the part that changed."""
    signal = noise = 0.0
    for wanted, found in pairs:
        if wanted.shape != found.shape:
            return math.inf
        if wanted.dtype.kind != "f":
            signal, noise = signal + wanted.size, noise + float((wanted != found).sum())
            continue
        finite = np.isfinite(wanted)
        a, b = wanted[finite].astype(np.float64), found[finite].astype(np.float64)
        if not np.isfinite(b).all():
            return math.inf
        signal, noise = signal + float(np.square(a).sum()), noise + float(np.square(a - b).sum())
    if noise == 0:
        return 0.0
    return noise / signal if signal else math.inf


def divergence(pairs: Sequence[tuple[Array, Array]], kind: Kind) -> float:
    """Mean of ``sum p log(p / q)`` over the distributions along the last axis, nats."""
    whole, count = 0.0, 0
    for wanted, found in pairs:
        if wanted.shape != found.shape or not np.isfinite(found).all():
            return math.inf
        p, q = _log_probabilities(wanted, kind), _log_probabilities(found, kind)
        whole += max(0.0, float((np.exp(p) * (p - q)).sum()))
        count += math.prod(wanted.shape[:-1])
    return whole / count if count else 0.0


def _log_probabilities(array: Array, kind: Kind) -> Array:
    values = array.astype(np.float64)
    if kind == "probabilities":
        values = np.log(np.maximum(values, TINY))
    values = values - values.max(axis=-1, keepdims=True, initial=-math.inf)
    found: Array = values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
    return found


def kinds_of_outputs(model: ir.Model, outputs: Sequence[Outputs]) -> dict[str, Kind]:
    """Outputs that are distributions over their last axis, and matrices of a product that look like logits.

    A matrix is taken for logits if a Gemm, a MatMul or the Add of its bias gives it and it has more than one column.
    """
    found: dict[str, Kind] = {}
    for value in model.graph.outputs:
        name = str(value.name)
        arrays = [o[name] for o in outputs if name in o and o[name].size]
        if not arrays or any(a.dtype.kind != "f" or a.ndim < 2 or not np.isfinite(a).all() for a in arrays):
            continue
        if arrays[0].shape[-1] < 2:
            continue
        if all(_is_distribution(a) for a in arrays):
            found[name] = "probabilities"
        elif arrays[0].ndim == 2 and _is_product(value):
            found[name] = "logits"
    return found


def _is_distribution(array: Array) -> bool:
    sums = array.sum(axis=-1, dtype=np.float64)
    return bool((array >= 0).all() and (np.abs(sums - 1) < SUM_TOLERANCE).all())


def _is_product(value: ir.Value) -> bool:
    node = value.producer()
    if node is not None and node.op_type == "Add" and node.domain == "":
        node = next((p for v in node.inputs if v is not None and (p := v.producer()) is not None), None)
    return node is not None and node.domain == "" and node.op_type in ("Gemm", "MatMul")
