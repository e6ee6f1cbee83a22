"""PP-OCR line direction classifier (MobileNetV3): does a line of text stand upright or upside down?

Source: ``rapidocr-onnxruntime==1.4.4`` (Apache-2.0), the model as shipped. Input ``x: float32 [1, 3, 48, 192]``,
grey levels scaled to -1 .. 1, zeros right of the text; longer lines are squeezed. Output ``[1, 2]``:
probability of 0 and of 180 degrees.

Data: 64 calibration and 300 evaluation lines of ``text_lines``, every second one turned by 180 degrees.
Labels: ``int64 [300]``, 1 where turned. Metric: ``accuracy``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.fonts import FONT_SOURCES, font_files
from benchmarks.zoo.ppocr_rec import RAPIDOCR
from benchmarks.zoo.text_lines import HEIGHT, TextLine, normalised, text_lines

MEMBER = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
DIGEST = "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"
WIDTH = 192  # pixels
CALIBRATION, EVALUATION, SEED = 64, 300, 11


def build(folder: Path) -> None:
    """Write the entry's folder."""
    shutil.copyfile(RAPIDOCR.file(MEMBER, DIGEST), folder / "model.onnx")
    lines = text_lines(CALIBRATION + EVALUATION, SEED, font_files())
    write_npz(folder / "calibration.npz", {"x": images(lines[:CALIBRATION])})
    labels = np.arange(EVALUATION, dtype=np.int64) % 2
    write_npz(folder / "evaluation.npz", {"x": images(lines[CALIBRATION:]), "labels": labels})
    write_recipe(folder, {"x": (1, 3, HEIGHT, WIDTH)}, "accuracy", CALIBRATION)


def images(lines: Sequence[TextLine]) -> NDArray[np.float32]:
    """Lines as network input ``float32 [N, 3, 48, 192]``; those of odd index are turned by 180 degrees."""
    rows = []
    for i, line in enumerate(lines):
        size = (min(WIDTH, line.pixels.shape[1]), HEIGHT)
        pixels = np.asarray(Image.fromarray(line.pixels).resize(size, Image.Resampling.BILINEAR), np.uint8)
        rows.append(normalised(pixels[::-1, ::-1] if i % 2 else pixels, WIDTH))
    return np.stack(rows)


ENTRY = ZooEntry(
    name="ppocr-cls",
    title="PP-OCR line direction classifier",
    task="image classification, 2 classes",
    licence="Apache-2.0 (model); OFL-1.1, Apache-2.0 (fonts)",
    source=f"{RAPIDOCR.spec}, {FONT_SOURCES}",
    build=build,
)
