"""What a factorized layer saves: measured on the target alone, or counted in multiplications where nothing can be timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.judge import Judge
from tamis.passes.pruning.low_rank.factors import Factors
from tamis.passes.pruning.low_rank.one_layer import factorized, one_layer
from tamis.passes.pruning.low_rank.thin_layer import ThinLayer

KIND = "low-rank"
SECONDS = 0.4
"""For one layer."""


@dataclass(frozen=True)
class Gain:
    """Of the thin layers against the one.

    Args:
        speedup: How many times faster; by multiplications if nothing was measured.
        saved: Nanoseconds of one run, or multiplications.
        sure: Not to be put down to noise.
    """

    speedup: float
    saved: float
    sure: bool = True


def counted(layer: ThinLayer, factors: Factors) -> Gain:
    """By multiplications."""
    after = factors.macs(layer.positions.before, layer.positions.after)
    return Gain(layer.macs / after, float(layer.macs - after))


def measured(layer: ThinLayer, factors: Factors, multiple: int, model: ir.Model, judge: Judge) -> Gain:
    """By time, in pairs; layers of one form with equal ranks are timed once, and so are rebuilds.

    Single layers take microseconds, and what else the machine does falls on one side of a pair or the other: wall and CPU
    time must both be shorter, and the smaller gain counts.

    Args:
        layer: Of ``model``.
        factors: Of the layer.
        multiple: Channels of the neighbours.
        model: For its opsets.
        judge: Can time steps on the target.
    """
    before, feeds = one_layer(layer, multiple, dict(model.graph.opset_imports), model.ir_version)
    alone = replace(judge, feeds=feeds)

    def measure() -> Mapping[str, JsonValue]:
        found = alone.rough_speedup(alone.legalized(before), alone.legalized(factorized(before, factors)), SECONDS)
        speedup = min(found.speedup, found.cpu_speedup)
        saved = 1e6 * found.median_a_ms * (1 - 1 / speedup)
        return {"speedup": speedup, "saved": saved, "sure": found.verdict == "faster" and found.cpu_low > 1}

    workload = {
        "operator": layer.node.op_type,
        "attributes": str(sorted((name, str(a.value)) for name, a in layer.node.attributes.items())),
        "weight": str(layer.weight.shape),
        "inputs": str(layer.inputs),
        "bias": str(len(layer.node.inputs)),
        "ranks": str(factors.ranks),
        "multiple": str(multiple),
    }
    found = alone.decide(KIND, workload, measure)
    speedup, saved = found["speedup"], found["saved"]
    assert isinstance(speedup, int | float) and isinstance(saved, int | float)
    return Gain(float(speedup), float(saved), bool(found["sure"]))
