"""ONNX Runtime's own quantizers, with their defaults and as its documentation advises.

*References.* https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html: pre-process first; S8 or U8
activations with S8 weights; ``reduce_range`` and per-channel weights on x86 without VNNI; opset 13 or later for
per-channel weights in QDQ form; dynamic quantization for transformers and recurrent networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
)

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case, Feeds
from tamis.compiler.machine import find_machine

PER_CHANNEL_OPSET, RAISED_OPSET = 13, 17
PRODUCTS = ["MatMul", "Gemm", "LSTM", "GRU", "Gather", "Attention", "EmbedLayerNormalization"]
"""What pays to be quantized dynamically; a dynamically quantized Conv has no fast kernel."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: list[Feeds]) -> None:
        self._samples: Iterator[Feeds] = iter(samples)

    def get_next(self) -> Feeds | None:
        return next(self._samples, None)


def static_default(case: Case, out: Path) -> Candidate:
    """``quantize_static`` on the model as it is, with all defaults: S8S8 in QDQ form, per tensor, min-max."""
    result = out / "model.onnx"
    quantize_static(case.model, result, _Reader(case.feeds("calibration")))
    return Candidate(result)


def static_best(case: Case, out: Path) -> Candidate:
    """Pre-processed, U8S8 in QDQ form, per channel, reduced range where this CPU's products saturate."""
    ready, notes = _prepared(case, out)
    result, saturates = out / "model.onnx", _saturates()
    quantize_static(
        ready,
        result,
        _Reader(case.feeds("calibration")),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=saturates,
    )
    return Candidate(result, notes=(*notes, f"reduce_range={saturates}"))


def dynamic_default(case: Case, out: Path) -> Candidate:
    """``quantize_dynamic`` on the model as it is, with all defaults; takes convolutions, too."""
    result = out / "model.onnx"
    quantize_dynamic(case.model, result)
    return Candidate(result)


def dynamic_products(case: Case, out: Path) -> Candidate:
    """Pre-processed, matrix products, recurrent nodes and embeddings only, weights per channel."""
    ready, notes = _prepared(case, out)
    result, saturates = out / "model.onnx", _saturates()
    quantize_dynamic(ready, result, op_types_to_quantize=PRODUCTS, per_channel=True, reduce_range=saturates)
    return Candidate(result, notes=(*notes, f"reduce_range={saturates}"))


def _prepared(case: Case, out: Path) -> tuple[Path, tuple[str, ...]]:
    """The model after ``quant_pre_process``, and what had to be done for it."""
    source, ready, notes = case.model, out / "prepared.onnx", []
    model: Any = onnx.load(source)
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version < PER_CHANNEL_OPSET:
        source = out / "raised.onnx"
        onnx.save(version_converter.convert_version(model, RAISED_OPSET), source)
        notes.append(f"opset {version} raised to {RAISED_OPSET}")
    process = partial(quant_pre_process, source, ready)
    try:
        process()
    except Exception as error:  # noqa: BLE001  its documentation says to go on without symbolic shapes then
        process(skip_symbolic_shape=True)
        notes.append(f"without symbolic shapes ({type(error).__name__})")
    return ready, tuple(notes)


def _saturates() -> bool:
    return find_machine("host").int8.saturates
