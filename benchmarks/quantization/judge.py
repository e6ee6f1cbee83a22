"""A quantized model against the float32 one: task metric on the test half, size, speed, kernels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.quantization.case import Case
from benchmarks.quantization.fired import fired, onnx_file
from benchmarks.quantization.quantized import Quantized
from benchmarks.quantization.runners import Run, by_onnxruntime, opened
from tamis.compiler.bundle import open_bundle
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.metrics import get_metric
from tamis.compiler.model_file import load_model
from tamis.passes.quantization.rounding.saturation import saturated_pairs

SATURATION_SAMPLES = 8


def score(case: Case, made: Quantized) -> dict[str, Any]:
    """All of the row of a quantized model but its speed."""
    names = _outputs(case)
    before, after = (_score(case, names, run) for run in (by_onnxruntime(case.model, case.threads), _open(case, made)))
    sign = 1 if get_metric(case.metric).higher_is_better else -1
    return {
        "metric": case.metric,
        "before": before,
        "after": after,
        "drop": sign * (before - after),
        "size": _size(made) / case.model.stat().st_size,
        "kernels": fired(made, case.threads).to_dict(),
        "saturation": _saturation(case, made),
    }


def time(case: Case, made: Quantized, seconds: float) -> dict[str, Any]:
    """The float32 model's time over the quantized one's, in pairs, over several loads."""
    feeds = case.feeds("calibration")[0]
    base = partial(by_onnxruntime, case.model, case.threads)
    ratio = compare_loads(lambda: partial(base(), feeds), lambda: partial(_open(case, made), feeds), seconds=seconds)
    return {"latency": {**ratio.summary(), "float_ms": ratio.median_a_ms, "quantized_ms": ratio.median_b_ms}}


def _open(case: Case, made: Quantized) -> Run:
    return opened(made, _outputs(case), case.threads)


def _outputs(case: Case) -> tuple[str, ...]:
    return tuple(str(value.name) for value in load_model(case.model).graph.outputs)


def _score(case: Case, names: tuple[str, ...], run: Run) -> float:
    metric = get_metric(case.metric)
    for feeds, labels in zip(case.feeds("test"), case.labels("test"), strict=True):
        metric.update(dict(zip(names, run(feeds), strict=True)), labels)
    return float(metric.result())


def _saturation(case: Case, made: Quantized) -> dict[str, float] | None:
    """Pairs of products that would clip on a CPU that adds them in 16 bits; None for OpenVINO, whose files say nothing."""
    if made.run_by == "openvino":
        return None
    counts = saturated_pairs(
        load_model(onnx_file(made)), lambda: case.feeds("calibration")[:SATURATION_SAMPLES]
    ).values()
    clipped, pairs = sum(c.saturated for c in counts), sum(c.pairs for c in counts)
    unsafe = sum(c.unsafe_columns > 0 for c in counts)
    return {"layers": len(counts), "unsafe_layers": unsafe, "pairs": pairs, "saturated": clipped}


def _size(made: Quantized) -> int:
    """Bytes of what is shipped to run it: the model's files, without records."""
    if made.run_by == "tamis":
        bundle = open_bundle(made.path, check=False)
        return sum((bundle.folder / name).stat().st_size for name in bundle.artifact.files)
    files = [made.path, made.path.with_suffix(".bin"), Path(f"{made.path}.data")]
    return sum(file.stat().st_size for file in files if file.exists())
