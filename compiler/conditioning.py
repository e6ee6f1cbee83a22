"""How precisely a model determines its outputs: what rounding alone may change, which no contract can forbid.

An input can be ill-conditioned (a normalization of constant rows amplifies rounding without bound), and the tail of a
saturating function is a difference of numbers near 1: a sigmoid of 1e-4 is known to 6e-8, not to seven digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.compare_outputs import Outputs, compare_outputs
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.target import Runner

DRAWS = 3
FACTOR = 16.0
ULPS = 4.0


def moved_by_rounding(runner: Runner, feeds: Feeds, want: Outputs, output: str) -> float:
    """Normwise relative change of ``output`` when the float inputs move by rounding errors, times ``FACTOR``.

    Args:
        runner: The model as given.
        feeds: The input.
        want: Its outputs there.
    """
    random = np.random.default_rng(0)
    moved = 0.0
    for _ in range(DRAWS):
        outputs = runner({name: _nudge(array, random) for name, array in feeds.items()})
        needed = compare_outputs({output: want[output]}, outputs)[0].tolerance_needed
        moved = max(moved, needed if np.isfinite(needed) else 0.0)
    return FACTOR * moved


def rounding_floors(samples: Iterable[Outputs]) -> dict[str, float]:
    """Float output -> absolute difference that is rounding: ``ULPS`` units in the last place of its largest value, or
    of 1, whichever is smaller.

    Args:
        samples: Outputs of the model as given, for the user's samples.
    """
    floors: dict[str, float] = {}
    for outputs in samples:
        for name, array in outputs.items():
            if array.dtype.kind == "f":
                largest = float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))
                floors[name] = max(floors.get(name, 0.0), ULPS * float(np.finfo(array.dtype).eps) * min(1.0, largest))
    return floors


def _nudge(array: np.ndarray[Any, Any], random: np.random.Generator) -> np.ndarray[Any, Any]:
    if array.dtype.kind != "f":
        return array
    size = float(np.finfo(array.dtype).eps) * max(float(np.abs(array).max(initial=0.0)), 1.0)
    moved: np.ndarray[Any, Any] = (array + size * random.uniform(-1, 1, array.shape)).astype(array.dtype)
    return moved


def has_halves(model: ir.Model) -> bool:
    """Whether anything in ``model`` is a 16-bit floating-point number.

    ONNX Runtime computes such models in float32 between casts that it inserts, and leaves out pairs of those, with its
    optimizations off as well: a node more or less, and other values are rounded.
    """
    values = (
        value
        for graph in model.graphs()
        for values in (graph.inputs, graph.initializers.values(), *(node.outputs for node in graph))
        for value in values
    )
    return any(value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) for value in values)
