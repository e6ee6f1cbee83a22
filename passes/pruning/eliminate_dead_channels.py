"""Take out channels that provably do nothing, and what they add into biases and into weights of equal channels.

::

    relu(W1 x + b1) W2:   W2[:, c] = 0                  ->  row c of W1 and b1 go, and column c of W2
                          relu(...)[c] = 0, always      ->  the same
                          relu(...)[c] = k, always      ->  the same, and b2 += W2[:, c] k
                          relu(...)[c] = relu(...)[d]   ->  the same, and W2[:, d] += W2[:, c]

What goes is a whole unit of the axis graph: a channel with all that is tied to it through residual connections, depthwise
convolutions, concatenations and reshapes; a head; a hidden unit. So a model that arrives with zeros in whole rows or
columns gets smaller; zeros that fill no row and no column of all the weights of a unit stay.

*Refuses*: groups with weights that are not finite; constant channels before a convolution that pads them (unless only
taps that never meet the border read them), before a ConvTranspose and in the recurrent weights of an LSTM; the last unit
of a group; channels that the axis graph freezes.
"""

from __future__ import annotations

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Stage
from tamis.passes.pruning.dead.elimination import Elimination
from tamis.passes.pruning.dead.evidence import Proof
from tamis.passes.pruning.dead.facts import Facts
from tamis.passes.pruning.dead.savings import size_of


class Options(PassOptions):
    """Options of ``eliminate-dead-channels``."""

    multiple: int = Field(
        1,
        ge=1,
        le=256,
        description="Channels of each group are kept to a multiple of this, as kernels like it, or left as they are.",
    )


class EliminateDeadChannels(GraphPass[Options]):
    """Remove channels that no weight reads, that are zero or constant whatever the inputs are, or that equal others.

    *Match*: units of the axis graph. Values are followed through the graph with bounds for each channel (interval
    arithmetic, from activations that have bounds and from weights) and with numbers of equal channels.

    *Rewrite*: constant channels: ``b2 += sum of W2[:, c] k``, in a Conv, Gemm, LSTM, GRU or RNN, or in an Add behind a
    MatMul. Equal channels: ``W2[:, d] += W2[:, c]``. Then the unit is sliced out of all tensors, until nothing is found.

    *Units*: counts of channels by cause, ``bytes saved`` of constants, ``MACs saved`` of a run.

    *Preserves*: the function up to rounding, for inputs on which no value is infinite or NaN. Names and shapes of graph
    inputs and outputs.

    *References*: Chen et al., "Only train once: a one-shot neural network training and pruning framework", 2021
    (2107.07467), section 3.1: groups whose zeros leave the output as it is; here zero, constant and equal units as well.
    """

    name = "eliminate-dead-channels"
    stage = Stage.PRUNE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        before = size_of(model)
        elimination = Elimination(model, lambda current: Proof(Facts(current)), self.options.multiple)
        modified = elimination.run()
        counts = {f"{cause} channels": count for cause, count in sorted(elimination.counts.items())}
        counts |= before.saved(size_of(model)) if modified else {}
        return PassResult(model, modified, counts, elimination.skips, tuple(elimination.details))
