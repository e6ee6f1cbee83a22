"""The EfficientNet-Lite0 network as an ONNX graph: stem, 16 inverted-residual blocks, head, classifier.

Tan and Le, "EfficientNet: Rethinking Model Scaling for CNNs", 2019, without squeeze-and-excite and with
ReLU6 in place of swish, as in the TensorFlow "lite" variants. Convolutions pad as TensorFlow's ``SAME``,
so a stride of 2 pads one pixel more at the bottom and right. Input ``x: float32 [N, 3, 224, 224]``,
output ``logits: float32 [N, 1000]``. BatchNormalization is left as nodes of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.graph_builder import GraphBuilder

SIDE = 224  # pixels
EPSILON = 1e-3
# repeats, stride of the first block, expansion; kernels and channels are those of the weights
STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))


class EfficientNetLite0:
    """Builds the graph from a state dict ``name -> array``."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.weights = weights
        self.graph = GraphBuilder()
        self.side = SIDE

    def save(self, path: Path) -> None:
        """Write the model."""
        x = self._conv_norm("x", "_conv_stem", "_bn0", 2)
        number = 0
        for repeats, stride, expansion in STAGES:
            for i in range(repeats):
                x = self._block(x, f"_blocks.{number}", stride if i == 0 else 1, expansion)
                number += 1
        x = self._conv_norm(x, "_conv_head", "_bn1", 1)
        x = self.graph.add("GlobalAveragePool", [x], "pooled")
        x = self.graph.add("Flatten", [x], "features")
        self.graph.add("Gemm", [x, self._weight("_fc.weight"), self._weight("_fc.bias")], "logits", transB=1)
        shape = ("N", 3, SIDE, SIDE)
        self.graph.save(path, "efficientnet_lite0", {"x": (np.float32, shape)}, {"logits": ("N", 1000)})

    def _block(self, x: str, name: str, stride: int, expansion: int) -> str:
        start = x
        if expansion > 1:
            x = self._conv_norm(x, f"{name}._expand_conv", f"{name}._bn0", 1)
        x = self._conv_norm(x, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        x = self._conv_norm(x, f"{name}._project_conv", f"{name}._bn2", 1, relu6=False)
        into = self.weights[f"{name}.{'_expand_conv' if expansion > 1 else '_depthwise_conv'}.weight"].shape
        channels = into[1] if expansion > 1 else into[0]
        same = stride == 1 and channels == self.weights[f"{name}._project_conv.weight"].shape[0]
        return self.graph.add("Add", [x, start], f"{name}.sum") if same else x

    def _conv_norm(self, x: str, conv: str, norm: str, stride: int, relu6: bool = True) -> str:
        weight = self.weights[f"{conv}.weight"]
        kernel = weight.shape[2]
        total = max((-(-self.side // stride) - 1) * stride + kernel - self.side, 0)
        self.side = -(-self.side // stride)
        before, after = total // 2, total - total // 2
        group = weight.shape[0] if conv.endswith("_depthwise_conv") else 1
        inputs, pads = [x, self._weight(f"{conv}.weight")], [before, before, after, after]
        x = self.graph.add("Conv", inputs, conv, pads=pads, strides=[stride, stride], group=group)
        parts = [self._weight(f"{norm}.{p}") for p in ("weight", "bias", "running_mean", "running_var")]
        x = self.graph.add("BatchNormalization", [x, *parts], norm, epsilon=EPSILON)
        if not relu6:
            return x
        limits = [self.graph.weight(n, np.array(v, np.float32)) for n, v in (("zero", 0), ("six", 6))]
        return self.graph.add("Clip", [x, *limits], f"{norm}.relu6")

    def _weight(self, name: str) -> str:
        return self.graph.weight(name, self.weights[name])
