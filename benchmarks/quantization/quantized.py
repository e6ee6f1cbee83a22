"""What a quantizer leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.quantization.case import Case

RunBy = Literal["onnxruntime", "openvino", "tamis"]


@dataclass(frozen=True)
class Quantized:
    """A quantized model.

    Args:
        path: An ONNX file, OpenVINO's .xml file, or the bundle of tamis.
        run_by: What it is measured with. A bundle is opened with the session settings that it carries.
        notes: What else is worth knowing, a line each.
    """

    path: Path
    run_by: RunBy = "onnxruntime"
    notes: tuple[str, ...] = field(default=())


Quantizer = Callable[[Case, Path], Quantized]
"""Quantize the case's model into a folder."""
