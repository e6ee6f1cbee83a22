"""Rendered lines of text with their exact wording: the common data of the line recogniser and the turn classifier.

A line is grey, 48 pixels high and at most 320 wide: dark on light or the reverse, a face of ``fonts``,
turned by up to 2 degrees, 60 % of them blurred, all with noise of 2 to 18 grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.zoo.phrases import phrase

HEIGHT, WIDTH = 48, 320  # pixels


@dataclass(frozen=True)
class TextLine:
    """Pixels ``uint8 [48, width]`` with ``width <= 320``, and what they say."""

    pixels: NDArray[np.uint8]
    text: str


def text_lines(count: int, seed: int, fonts: Sequence[Path]) -> list[TextLine]:
    """``count`` lines with different texts; phrases too long for the width are drawn anew."""
    g = np.random.default_rng(seed)
    lines: dict[str, TextLine] = {}
    while len(lines) < count:
        line = _line(g, phrase(g), fonts[int(g.integers(len(fonts)))])
        if line is not None:
            lines.setdefault(line.text, line)
    return list(lines.values())


def _line(g: np.random.Generator, text: str, face: Path) -> TextLine | None:
    font = ImageFont.truetype(str(face), int(g.integers(15, 41)), layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = font.getbbox(text)
    paper, ink = int(g.integers(150, 256)), int(g.integers(0, 111))
    if g.random() < 0.2:
        paper, ink = ink, paper
    image = Image.new("L", (int(right - left) + 16, int(bottom - top) + 12), paper)
    ImageDraw.Draw(image).text((8 - left, 6 - top), text, font=font, fill=ink)
    image = image.rotate(g.uniform(-2, 2), Image.Resampling.BICUBIC, fillcolor=paper)
    if g.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(g.uniform(0.3, 1.3)))
    width = round(image.width * HEIGHT / image.height)
    noise = g.normal(0, g.uniform(2, 18), (HEIGHT, WIDTH))
    if not 16 <= width <= WIDTH:
        return None
    pixels = np.asarray(image.resize((width, HEIGHT), Image.Resampling.BILINEAR), np.float64)
    return TextLine(np.clip(np.rint(pixels + noise[:, :width]), 0, 255).astype(np.uint8), text)


def normalised(pixels: NDArray[np.uint8], width: int) -> NDArray[np.float32]:
    """A line as the networks take it: ``float32 [3, 48, width]``, grey levels to -1 .. 1, zeros on the right."""
    padded = np.zeros((3, HEIGHT, width), np.float32)
    padded[:, :, : pixels.shape[1]] = pixels.astype(np.float32) / 127.5 - 1
    return padded
