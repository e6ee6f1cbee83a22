"""Rendered pages with the exact box of every line of text: the data of the text detector.

A page is 480 x 480 pixels, RGB: plain paper, or a photo washed out until the text stays readable, with 5
to 10 lines in the faces of ``fonts``; half of them are blurred, all have noise of 1 to 10 grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.zoo.phrases import phrase

SIDE = 480  # pixels
MARGIN = 10  # pixels

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


@dataclass(frozen=True)
class Page:
    """Pixels ``uint8 [480, 480, 3]`` in RGB and the box that encloses the ink of each line."""

    pixels: NDArray[np.uint8]
    boxes: list[Box]


def pages(count: int, seed: int, fonts: Sequence[Path], photos: Sequence[Image.Image]) -> list[Page]:
    """``count`` different pages."""
    g = np.random.default_rng(seed)
    return [_page(g, fonts, photos) for _ in range(count)]


def _page(g: np.random.Generator, fonts: Sequence[Path], photos: Sequence[Image.Image]) -> Page:
    image = _paper(g, photos)
    draw, ink = ImageDraw.Draw(image), int(g.integers(0, 111))
    boxes: list[Box] = []
    y = int(g.integers(MARGIN, 40))
    for _ in range(int(g.integers(5, 11))):
        face = fonts[int(g.integers(len(fonts)))]
        font = ImageFont.truetype(str(face), int(g.integers(12, 31)), layout_engine=ImageFont.Layout.BASIC)
        text = " ".join(phrase(g) for _ in range(int(g.integers(1, 3))))
        while font.getlength(text) > SIDE - 3 * MARGIN:
            text = text[: len(text) * 2 // 3].rstrip()
        left, top, right, bottom = font.getbbox(text)
        x = int(g.integers(MARGIN, SIDE - MARGIN - int(right - left)))
        if y + bottom - top > SIDE - MARGIN:
            break
        draw.text((x - left, y - top), text, font=font, fill=(ink, ink, ink))
        boxes.append((x, y, x + right - left, y + bottom - top))
        y += int(bottom - top) + int(g.integers(9, 32))
    if g.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(g.uniform(0.3, 1.0)))
    noisy = np.asarray(image, np.float64) + g.normal(0, g.uniform(1, 10), (SIDE, SIDE, 1))
    return Page(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), boxes)


def _paper(g: np.random.Generator, photos: Sequence[Image.Image]) -> Image.Image:
    grey = int(g.integers(160, 256))
    plain = Image.new("RGB", (SIDE, SIDE), (grey, grey, max(0, grey - int(g.integers(0, 26)))))
    if g.random() < 0.5:
        return plain
    photo = photos[int(g.integers(len(photos)))].resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return Image.blend(photo, plain, g.uniform(0.55, 0.85))
