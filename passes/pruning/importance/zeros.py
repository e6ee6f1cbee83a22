"""How many of the values behind ReLU and its like are zero: over all, by channel, and by aligned blocks of channels.

No kernel of a runtime here skips zeros, so the shares say what could be removed, not what is fast: a channel of share 1 is
dead on the samples; a block of eight that is zero at a position is the least that a vector unit could leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.observe import observe
from tamis.compiler.rewriting.constants import constant_array

Array = np.ndarray[Any, np.dtype[Any]]
BLOCK = 8
FLAT_ZERO = ("Relu", "ThresholdedRelu", "HardSwish", "HardSigmoid")
"""Operators that give zero itself over a range of inputs."""
CHANNELS_SECOND = ("Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization")
CHANNELS_LAST = ("MatMul", "Gemm", "LayerNormalization")


@dataclass(frozen=True, eq=False)
class ZeroStats:
    """Shares of zeros in one value, over all samples and positions, 0 to 1.

    Args:
        name: Of the value.
        share: Of its elements.
        per_channel: ``(channels,)``, float64: average percentage of zeros (APoZ), as a share.
        blocks_of_eight: Of aligned blocks of eight channels at a position, those that are zero throughout; the last
            channels count as a block only if there are eight. 0 with fewer than eight channels.
    """

    name: str
    share: float
    per_channel: Array
    blocks_of_eight: float


@dataclass
class _Counts:
    axis: int
    channels: Array | None = None
    positions: int = 0
    blocks: int = 0
    zero_blocks: int = 0

    def add(self, array: Array) -> None:
        zero = np.moveaxis(array == 0, self.axis, -1).reshape(-1, array.shape[self.axis])
        counted = zero.sum(axis=0)
        self.channels = counted if self.channels is None else self.channels + counted
        self.positions += len(zero)
        whole = zero.shape[1] // BLOCK
        together = zero[:, : whole * BLOCK].reshape(len(zero), whole, BLOCK).all(axis=2)
        self.blocks += together.size
        self.zero_blocks += int(together.sum())

    def stats(self, name: str) -> ZeroStats:
        assert self.channels is not None
        per_channel = self.channels / max(1, self.positions)
        share = float(per_channel.mean()) if len(per_channel) else 0.0
        return ZeroStats(name, share, per_channel, self.zero_blocks / max(1, self.blocks))


def activation_zeros(model: ir.Model, samples: Callable[[], Iterable[Feeds]]) -> tuple[ZeroStats, ...]:
    """Shares of zeros of each value that ReLU or its like gives, in the order of the graph.

    Memory depends neither on the number of samples nor on that of the values. NaN is not zero.

    Args:
        model: Left as it is; nodes of its main graph are looked at.
        samples: Gives the samples from the start each time; the number of channels is the same in all.

    Raises:
        DataError: There are no samples.
    """
    counts = {str(n.outputs[0].name): _Counts(axis) for n in model.graph if (axis := _channels(n)) is not None}
    for _, values in observe(model, counts, samples):
        for name, array in values.items():
            counts[name].add(array)
    return tuple(count.stats(name) for name, count in counts.items())


def _channels(node: ir.Node) -> int | None:
    """The axis of channels of what ``node`` gives; None if it is not like ReLU, or has no such axis."""
    shape = node.outputs[0].shape
    if not _is_flat_zero(node) or shape is None or len(shape) < 2:
        return None
    return _nearest(node, len(shape))


def _is_flat_zero(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Clip":
        low = constant_array(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_float("min", -np.inf)
        return low is not None and float(np.max(low)) == 0
    if node.op_type == "Max":
        return any((array := constant_array(v)) is not None and not array.any() for v in node.inputs)
    return node.op_type in FLAT_ZERO


def _nearest(node: ir.Node, rank: int) -> int:
    """The axis of channels as the nearest operator before ``node`` that knows says; without one 1 of four, else the last."""
    seen: set[ir.Node] = set()
    todo = [(node, tuple(range(rank)))]  # with the axis there that becomes each axis here
    while todo:
        current, order = todo.pop(0)
        for value in current.inputs:
            producer = None if value is None else value.producer()
            if producer is None or producer in seen:
                continue
            seen.add(producer)
            if producer.op_type in (*CHANNELS_SECOND, *CHANNELS_LAST):
                return order.index(min(1, rank - 1) if producer.op_type in CHANNELS_SECOND else rank - 1)
            if producer.outputs[0].shape is not None and len(producer.outputs[0].shape) == rank:
                perm = producer.attributes.get_ints("perm", range(rank)[::-1])
                todo.append((producer, tuple(perm[i] for i in order) if producer.op_type == "Transpose" else order))
    return 1 if rank >= 4 else rank - 1
