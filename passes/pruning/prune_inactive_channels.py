"""Take out channels that do nothing on the calibration samples, and what they add into biases.

::

    relu(W1 x + b1) W2:   relu(...)[c] = 0 on all samples       ->  row c of W1 and b1 go, and column c of W2
                          relu(...)[c] = k on all samples       ->  the same, and b2 += W2[:, c] k

This is seen and not proven: another input may make the channel active. ``eliminate-dead-channels`` takes out what is
proven, on no data at all.

*Refuses*: fewer than eight samples; what ``eliminate-dead-channels`` refuses; values that are not finite on the samples; states of an LSTM, GRU or
RNN that start elsewhere than at zero, or of which only the last is given.
"""

from __future__ import annotations

from itertools import islice

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.passes.pruning.dead.elimination import Elimination
from tamis.passes.pruning.dead.observed import Observed
from tamis.passes.pruning.dead.savings import size_of

LEAST_SAMPLES = 8


class Options(PassOptions):
    """Options of ``prune-inactive-channels``."""

    threshold: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="How far the values of a channel may be from zero, or from each other, as a share of the largest "
        "absolute value of the tensor on the samples.",
    )
    multiple: int = Field(
        1,
        ge=1,
        le=256,
        description="Channels of each group are kept to a multiple of this, as kernels like it, or left as they are.",
    )


class PruneInactiveChannels(GraphPass[Options]):
    """Remove channels that are zero or constant on every calibration sample. This is empirical, not proven.

    *Match*: units of the axis graph all of whose channels, where weights read them, stay within the threshold of zero or
    of one number on all samples; and units that no weight reads.

    *Rewrite*: ``b2 += sum of W2[:, c] k`` with k the middle of what the channel holds, then the unit is sliced out of all
    tensors; over and over, each time with the samples on the model as it is.

    *Units*: the threshold is a share of the largest absolute value of the tensor. Counts as for
    ``eliminate-dead-channels``.

    *Preserves*: with a threshold of zero, what the model gives on the samples, up to rounding; on other inputs whatever
    the accuracy budget allows. Names and shapes of graph inputs and outputs.

    *References*: Hu et al., "Network trimming: a data-driven neuron pruning approach towards efficient deep
    architectures", 2016 (1607.03250), section 3.1, average percentage of zeros; here only channels of 100 percent go, and
    constant ones, with nothing trained afterwards.
    """

    name = "prune-inactive-channels"
    stage = Stage.PRUNE
    contract = Contract.LOSSY
    speed_motivated = True
    needs_samples = True
    options_type = Options

    def requires(self, model: ir.Model, context: PassContext) -> None:
        if context.samples is None:
            raise self.refuse(
                "there are no calibration samples to see channels at work with",
                expected="samples of the model's inputs",
                fix="name them in the recipe under data.calibration, or use eliminate-dead-channels, which needs none",
            )
        count = sum(1 for _ in islice(context.samples(), LEAST_SAMPLES))
        if count < LEAST_SAMPLES:
            raise self.refuse(
                "too few calibration samples: channels look constant that are not",
                expected=f"at least {LEAST_SAMPLES}",
                found=str(count),
                fix="give more samples, or use eliminate-dead-channels, which needs none",
            )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        samples, found = context.samples, list[Observed]()
        assert samples is not None

        def look(current: ir.Model) -> Observed:
            found.append(Observed(current, samples, self.options.threshold))
            return found[-1]

        before = size_of(model)
        elimination = Elimination(model, look, self.options.multiple, "on all samples (seen, not proven)")
        modified = elimination.run()
        counts = {f"{cause} channels": count for cause, count in sorted(elimination.counts.items())}
        counts |= before.saved(size_of(model)) if modified else {}
        skips: tuple[Skip, ...] = (*elimination.skips, *(found[-1].skips if found else ()))
        return PassResult(model, modified, counts, tuple(dict.fromkeys(skips)), tuple(elimination.details))
