"""Boxes out of a text probability map, and how well they agree with the true ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.zoo.pages import Box

THRESHOLD = 0.3  # probability from which a pixel counts as text
MIN_SIDE, MIN_MEAN = 3, 0.5  # pixels; mean probability of a region that becomes a box
GROWTH = 1.0  # the map holds shrunken regions: each side moves out by GROWTH * area / perimeter


def boxes_of(probability: NDArray[np.float32]) -> list[Box]:
    """Boxes of the connected text regions of a map ``float32 [H, W]``, grown back to the size of the text."""
    regions, count = ndimage.label(probability > THRESHOLD)
    found: list[Box] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(regions, count), 1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        inside = regions[rows, columns] == number
        if min(height, width) < MIN_SIDE or probability[rows, columns][inside].mean() < MIN_MEAN:
            continue
        grow = GROWTH * height * width / (2 * (height + width))
        found.append((columns.start - grow, rows.start - grow, columns.stop + grow, rows.stop + grow))
    return found


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def f1(pairs: Iterable[tuple[Sequence[Box], Sequence[Box]]], at: float) -> float:
    """F1 over pages of (found, true) boxes; a true box takes its best free found one of at least ``at`` IoU."""
    hits = total = 0
    for found, true in pairs:
        free = list(found)
        for box in true:
            best = max(free, key=lambda b: overlap(b, box), default=None)
            if best is not None and overlap(best, box) >= at:
                free.remove(best)
                hits += 1
        total += len(found) + len(true)
    return 2 * hits / total if total else 0.0
