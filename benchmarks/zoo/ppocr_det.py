"""PP-OCRv4 text detector (Differentiable Binarization head) on rendered pages with exact boxes.

Source: ``rapidocr-onnxruntime==1.4.4`` (Apache-2.0), the model as shipped. Input ``x: float32 [1, 3, 480, 480]``,
channels B, G, R, scaled to 0 .. 1, then ImageNet mean and deviation. Output ``[1, 1, 480, 480]``: the
probability that a pixel lies in the kernel of a line of text.

Data: 12 calibration and 24 evaluation pages of ``pages``, no photo behind both. The network was trained on
regions that are
smaller than the text, so the labels are too: each side of a true box moves in by SHRINK * area / perimeter.
Labels: ``uint8 [24, 1, 480, 480]`` masks; ``boxes.npz`` has the true boxes (page, left, top, right, bottom)
in pixels. Metric: ``iou`` of the probability above 0.3 with the mask. Details: F1 of the boxes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.boxes import boxes_of, f1
from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.fonts import FONT_SOURCES, font_files
from benchmarks.zoo.onnx_session import session
from benchmarks.zoo.pages import SIDE, Page, pages
from benchmarks.zoo.photos import FOOLBOX, photos
from benchmarks.zoo.ppocr_rec import RAPIDOCR

MEMBER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"
DIGEST = "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9"
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
SHRINK = 0.55  # fitted: 0.5 gives 0.016 less IoU, 0.6 the same
CALIBRATION, EVALUATION, SEED = 12, 24, 7


def build(folder: Path) -> None:
    """Write the entry's folder."""
    shutil.copyfile(RAPIDOCR.file(MEMBER, DIGEST), folder / "model.onnx")
    fonts, backgrounds = font_files(), [photo for photo, _ in photos()]
    calibration = pages(CALIBRATION, SEED, fonts, backgrounds[:7])
    evaluation = pages(EVALUATION, SEED + 1, fonts, backgrounds[7:])
    write_npz(folder / "calibration.npz", {"x": images(calibration)})
    labels = np.stack([kernel_mask(page) for page in evaluation])
    write_npz(folder / "evaluation.npz", {"x": images(evaluation), "labels": labels})
    boxes = [(i, *box) for i, page in enumerate(evaluation) for box in page.boxes]
    write_npz(folder / "boxes.npz", {"boxes": np.array(boxes, np.float32)})
    write_recipe(folder, {"x": (1, 3, SIDE, SIDE)}, "iou", CALIBRATION)


def images(group: Sequence[Page]) -> NDArray[np.float32]:
    """Pages as network input: ``float32 [N, 3, 480, 480]``."""
    pixels = np.stack([page.pixels[:, :, ::-1] for page in group]).astype(np.float32) / 255
    return np.ascontiguousarray(((pixels - MEAN) / DEVIATION).transpose(0, 3, 1, 2))


def kernel_mask(page: Page) -> NDArray[np.uint8]:
    """1 inside the shrunken boxes: ``uint8 [1, 480, 480]``."""
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    for left, top, right, bottom in page.boxes:
        inset = SHRINK * (right - left) * (bottom - top) / (2 * (right - left + bottom - top))
        rows = slice(round(top + inset), round(bottom - inset))
        mask[0, rows, round(left + inset) : round(right - inset)] = 1
    return mask


def box_scores(folder: Path, model: Path) -> dict[str, float]:
    """F1 of the boxes at IoU 0.5 and 0.75."""
    run = session(model)
    true = np.load(folder / "boxes.npz")["boxes"]
    pairs = []
    for i, image in enumerate(np.load(folder / "evaluation.npz")["x"]):
        found = boxes_of(run.run(None, {"x": image[None]})[0][0, 0])
        pairs.append((found, [(float(a), float(b), float(c), float(d)) for _, a, b, c, d in true[true[:, 0] == i]]))
    return {"box F1 at IoU 0.5": f1(pairs, 0.5), "box F1 at IoU 0.75": f1(pairs, 0.75)}


ENTRY = ZooEntry(
    name="ppocr-det",
    title="PP-OCRv4 text detector",
    task="text detection",
    licence="Apache-2.0 (model); OFL-1.1, Apache-2.0 (fonts); MIT (photos)",
    source=f"{RAPIDOCR.spec}, {FOOLBOX.spec}, {FONT_SOURCES}",
    build=build,
    details=box_scores,
)
