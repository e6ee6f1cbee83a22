"""NNCF's post-training quantization for the CPU, of the ONNX model and of OpenVINO's reading of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nncf  # type: ignore[import-not-found]
import numpy as np
import onnx
import openvino

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case, Feeds
from tamis.compiler.metrics import get_metric

TRANSFORMERS = frozenset({"minilm"})
"""Entries whose model type NNCF's documentation wants to be told."""


def for_onnxruntime(case: Case, out: Path) -> Candidate:
    """``nncf.quantize`` of the ONNX model, run by ONNX Runtime."""
    result = out / "model.onnx"
    onnx.save(nncf.quantize(onnx.load(case.model), nncf.Dataset(case.feeds("calibration")), **_settings(case)), result)
    return Candidate(result)


def for_openvino(case: Case, out: Path) -> Candidate:
    """``nncf.quantize`` of OpenVINO's model, run by OpenVINO."""
    model, dataset = read_for_openvino(case), nncf.Dataset(case.feeds("calibration"))
    return _saved(nncf.quantize(model, dataset, **_settings(case)), out)


def with_accuracy_control(case: Case, out: Path) -> Candidate:
    """``nncf.quantize_with_accuracy_control``: layers go back to float until the metric on the selection half holds."""
    samples, labels = case.feeds("selection"), list(case.labels("selection"))
    dataset = nncf.Dataset(samples)

    def validate(model: Any, items: Iterable[Feeds]) -> tuple[float, None]:
        metric, run = get_metric(case.metric), _call(model)
        for feeds, truth in zip(items, labels, strict=True):
            metric.update(run(feeds), truth)
        return float(metric.result()), None

    made = nncf.quantize_with_accuracy_control(
        read_for_openvino(case),
        nncf.Dataset(case.feeds("calibration")),
        dataset,
        validate,
        max_drop=case.max_drop,
        **_settings(case),
    )
    return _saved(made, out)


def openvino_float(case: Case, out: Path) -> Candidate:
    """No quantization: OpenVINO's own speed in float32, to tell apart what the runtime and what int8 brings."""
    return _saved(read_for_openvino(case), out)


def read_for_openvino(case: Case) -> Any:
    """The float32 model as OpenVINO reads it, with the shapes of the samples."""
    model = openvino.Core().read_model(case.model)
    model.reshape({name: list(value.shape) for name, value in case.feeds("calibration")[0].items()})
    return model


def _settings(case: Case) -> dict[str, Any]:
    kind = nncf.ModelType.TRANSFORMER if case.name in TRANSFORMERS else None
    return {"target_device": nncf.TargetDevice.CPU, "model_type": kind}


def _saved(model: Any, out: Path) -> Candidate:
    openvino.save_model(model, out / "model.xml", compress_to_fp16=False)
    return Candidate(out / "model.xml", "openvino")


def _call(model: Any) -> Callable[[Feeds], dict[str, np.ndarray[Any, Any]]]:
    compiled = model if hasattr(model, "create_infer_request") else openvino.compile_model(model, "CPU")

    def run(feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        found = compiled(feeds)
        return {output.get_any_name(): found[output] for output in compiled.outputs}

    return run
