"""Which values leave the range of float16 on calibration samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.observe import observe
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.passes.quantization.float16.arrays import LARGEST

HEADROOM = 2.0
"""Other inputs than the samples may give values so many times as large."""
SMALLEST_NORMAL = 2.0**-14
"""Smaller numbers have fewer than 11 bits in float16."""


def values_out_of_range(
    model: ir.Model, nodes: Iterable[ir.Node], samples: Callable[[], Iterable[Feeds]]
) -> dict[ir.Value, str]:
    """Float32 values that ``nodes`` of the main graph read or write and float16 does not hold, each with the reason.

    Args:
        model: Left as it is.
        nodes: Those that may compute in float16; inside subgraphs nothing is measured.
        samples: Gives the samples from the start each time.
    """
    seen = {
        str(v.name): v
        for node in nodes
        if node.graph is model.graph
        for v in (*node.inputs, *node.outputs)
        if v is not None and v.name and v.dtype == ir.DataType.FLOAT and constant_tensor(v) is None
    }
    seen = {name: v for name, v in seen.items() if v.producer() is not None or v.is_graph_input()}
    peaks = dict.fromkeys(seen, 0.0)
    for _, values in observe(model, seen, samples):
        for name, array in values.items():
            peaks[name] = max(peaks[name], _peak(array))
    reasons = ((seen[name], _reason(peak)) for name, peak in peaks.items())
    return {value: reason for value, reason in reasons if reason is not None}


def _peak(array: np.ndarray[Any, Any]) -> float:
    """The largest magnitude of a finite element."""
    return float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0))


def _reason(peak: float) -> str | None:
    if peak * HEADROOM > LARGEST:
        return "values leave the range of float16 on the samples"
    return "values are subnormal in float16 on the samples" if 0 < peak < SMALLEST_NORMAL else None
