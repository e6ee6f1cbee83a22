"""The four architectures in PyTorch: ``float32 [N, 1, 28, 28]`` -> logits ``[N, 10]``.

- cnn: four 3x3 convolutions (32, 32, 64, 64) and two dense layers, 1.2 million weights; the teacher.
- small: one convolution and three depthwise-separable blocks, 14 thousand weights; the student.
- mlp: dense layers of 256, 128 and 10.
- lstm: reads the image row by row, 28 steps of 28 pixels, 96 hidden units.
"""

from __future__ import annotations

import torch
from torch import nn


def network(name: str) -> nn.Module:
    """A fresh network of one of the four names."""
    return {"cnn": _cnn, "small": _small, "mlp": _mlp, "lstm": RowLstm}[name]()


class RowLstm(nn.Module):  # type: ignore[misc, unused-ignore]  # Any where PyTorch is not installed
    """An LSTM over the rows; the last step is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 96, batch_first=True)
        self.classifier = nn.Linear(96, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, _ = self.lstm(x[:, 0])
        logits: torch.Tensor = self.classifier(steps[:, -1])
        return logits


def _conv(into: int, out: int, kernel: int = 3, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(into, out, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU()]


def _separable(into: int, out: int) -> list[nn.Module]:
    return [*_conv(into, into, groups=into), *_conv(into, out, kernel=1)]


def _cnn() -> nn.Module:
    first = [*_conv(1, 32), *_conv(32, 32), nn.MaxPool2d(2)]
    second = [*_conv(32, 64), *_conv(64, 64), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(64 * 49, 360), nn.ReLU(), nn.Dropout(0.3), nn.Linear(360, 10))


def _small() -> nn.Module:
    first = [*_conv(1, 12), nn.MaxPool2d(2), *_separable(12, 32), nn.MaxPool2d(2)]
    second = [*_separable(32, 64), *_separable(64, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(128, 10))


def _mlp() -> nn.Module:
    layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(nn.Flatten(), *layers)
