"""ONNX Runtime as every score of the zoo uses it: CPU, one thread, default optimisations."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort


def session(model: Path) -> ort.InferenceSession:
    """A session on one thread of the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
