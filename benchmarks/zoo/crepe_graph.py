"""The tiny CREPE pitch tracker as an ONNX graph: six 1-D convolutions and a dense layer.

Kim, Salamon, Li and Bello, "CREPE: A Convolutional Representation for Pitch Estimation", 2018. Each block is
Pad, Conv, Relu, BatchNormalization, MaxPool: the normalisation comes after Relu, so it cannot be folded into
the convolution before it. Input ``frames: float32 [N, 1024]``, output ``salience: float32 [N, 360]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.graph_builder import GraphBuilder

FRAME, BINS, BLOCKS = 1024, 360, 6
EPSILON = 0.0010000000474974513


def save_crepe(weights: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write the model for the state dict ``weights``."""
    graph = GraphBuilder()
    axes = graph.weight("axes", np.array([1, 3], np.int64))
    x = graph.add("Unsqueeze", ["frames", axes], "columns")
    for i in range(1, BLOCKS + 1):
        before, after, stride = (254, 254, 4) if i == 1 else (31, 32, 1)
        pads = graph.weight(f"pads_{before}", np.array([0, 0, before, 0, 0, 0, after, 0], np.int64))
        x = graph.add("Pad", [x, pads], f"conv{i}.padded")
        parts = [graph.weight(f"conv{i}.{p}", weights[f"conv{i}.{p}"]) for p in ("weight", "bias")]
        x = graph.add("Conv", [x, *parts], f"conv{i}", strides=[stride, 1])
        x = graph.add("Relu", [x], f"conv{i}.relu")
        names = [f"conv{i}_BN.{p}" for p in ("weight", "bias", "running_mean", "running_var")]
        parts = [graph.weight(name, weights[name]) for name in names]
        x = graph.add("BatchNormalization", [x, *parts], f"conv{i}_BN", epsilon=EPSILON)
        x = graph.add("MaxPool", [x], f"conv{i}.pooled", kernel_shape=[2, 1], strides=[2, 1])
    x = graph.add("Flatten", [graph.add("Transpose", [x], "time_first", perm=[0, 2, 1, 3])], "features")
    parts = [graph.weight(f"classifier.{p}", weights[f"classifier.{p}"]) for p in ("weight", "bias")]
    x = graph.add("Gemm", [x, *parts], "classifier", transB=1)
    graph.add("Sigmoid", [x], "salience")
    graph.save(path, "crepe_tiny", {"frames": (np.float32, ("N", FRAME))}, {"salience": ("N", BINS)})
