"""onnxsim's quantizers with their defaults, after its simplification, as its command line does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxsim

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case


def static(case: Case, out: Path) -> Candidate:
    """``onnxsim.quantize_static``: QDQ form, per channel, min-max."""
    return _saved(onnxsim.quantize_static(_simple(case), case.feeds("calibration")), out)


def dynamic(case: Case, out: Path) -> Candidate:
    """``onnxsim.quantize_dynamic``: MatMul and Gemm."""
    return _saved(onnxsim.quantize_dynamic(_simple(case)), out)


def _simple(case: Case) -> Any:
    shapes = {name: list(value.shape) for name, value in case.feeds("calibration")[0].items()}
    return onnxsim.simplify(onnx.load(case.model), overwrite_input_shapes=shapes)[0]


def _saved(model: Any, out: Path) -> Candidate:
    onnx.save(model, out / "model.onnx")
    return Candidate(out / "model.onnx")
