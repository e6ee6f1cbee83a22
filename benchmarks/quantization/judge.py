"""A quantized model against the float32 one: task metric on the test half, size, kernels, pairs that would saturate."""

from __future__ import annotations

from typing import Any

from benchmarks.quantization.fired import fired
from benchmarks.side_by_side import figures
from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case
from tamis.compiler.model_file import load_model
from tamis.passes.quantization.rounding.saturation import saturated_pairs

SATURATION_SAMPLES = 8


def score(case: Case, made: Candidate) -> dict[str, Any]:
    """All of the row of a quantized model but its speed."""
    return {
        **figures.score(case, made),
        "kernels": fired(made, case.threads).to_dict(),
        "saturation": _saturation(case, made),
    }


def _saturation(case: Case, made: Candidate) -> dict[str, float] | None:
    """Pairs of products that would clip on a CPU that adds them in 16 bits; None for OpenVINO, whose files say nothing."""
    if made.run_by == "openvino":
        return None
    model = load_model(figures.onnx_file(made))
    counts = saturated_pairs(model, lambda: case.feeds("calibration")[:SATURATION_SAMPLES]).values()
    clipped, pairs = sum(c.saturated for c in counts), sum(c.pairs for c in counts)
    unsafe = sum(c.unsafe_columns > 0 for c in counts)
    return {"layers": len(counts), "unsafe_layers": unsafe, "pairs": pairs, "saturated": clipped}
