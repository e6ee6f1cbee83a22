"""PP-OCRv4 line recogniser (convolutions, SVTR attention, CTC head) on rendered lines of text.

Source: ``rapidocr-onnxruntime==1.4.4`` (Apache-2.0), the model as shipped. Input ``x: float32 [1, 3, 48, 320]``,
grey levels scaled to -1 .. 1, zeros right of the text. Output ``[1, 40, 6625]``: one distribution for each
8 pixels over blank (0), the 6623 signs listed in the model's metadata ``character``, and space (6624).

Data: 64 calibration and 200 evaluation lines of ``text_lines``, no text twice. Labels: ``int64 [200, L]``
class indices, -1 behind the last sign. Metric: ``char-accuracy``, 1 - edit distance / length over all lines.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.fonts import FONT_SOURCES, font_files
from benchmarks.zoo.text_lines import HEIGHT, WIDTH, TextLine, normalised, text_lines

RAPIDOCR = Package("pypi", "rapidocr-onnxruntime", "1.4.4")
MEMBER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
DIGEST = "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b"
CALIBRATION, EVALUATION, SEED = 64, 200, 7


def build(folder: Path) -> None:
    """Write the entry's folder."""
    model = folder / "model.onnx"
    shutil.copyfile(RAPIDOCR.file(MEMBER, DIGEST), model)
    lines = text_lines(CALIBRATION + EVALUATION, SEED, font_files())
    calibration, evaluation = lines[:CALIBRATION], lines[CALIBRATION:]
    write_npz(folder / "calibration.npz", {"x": images(calibration)})
    labels = encoded([line.text for line in evaluation], alphabet(model))
    write_npz(folder / "evaluation.npz", {"x": images(evaluation), "labels": labels})
    write_recipe(folder, {"x": (1, 3, HEIGHT, WIDTH)}, "char-accuracy", CALIBRATION)


def images(lines: Sequence[TextLine]) -> NDArray[np.float32]:
    """Lines as network input: ``float32 [N, 3, 48, 320]``."""
    return np.stack([normalised(line.pixels, WIDTH) for line in lines])


def alphabet(model: Path) -> list[str]:
    """The sign of each output class, blank first, as the model's metadata lists them."""
    metadata = {p.key: p.value for p in onnx.load(model, load_external_data=False).metadata_props}
    return ["", *(sign for sign in metadata["character"].split("\n") if sign), " "]


def encoded(texts: Sequence[str], signs: Sequence[str]) -> NDArray[np.int64]:
    """Class indices of each text, ``int64 [N, longest]``, padded with -1."""
    index = {sign: i for i, sign in enumerate(signs)}
    labels = np.full((len(texts), max(map(len, texts))), -1, np.int64)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = [index[sign] for sign in text]
    return labels


ENTRY = ZooEntry(
    name="ppocr-rec",
    title="PP-OCRv4 line recogniser",
    task="text recognition",
    licence="Apache-2.0 (model); OFL-1.1, Apache-2.0 (fonts)",
    source=f"{RAPIDOCR.spec}, {FONT_SOURCES}",
    build=build,
)
