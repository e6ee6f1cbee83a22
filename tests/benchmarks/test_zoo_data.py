"""The generated data are what their docstrings say, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from benchmarks.zoo.boxes import boxes_of, f1, overlap
from benchmarks.zoo.chords import FRAMES, HOP, KEYS, chord, note_map, onset_map
from benchmarks.zoo.crepe import BIN, FIRST_BIN, bins, tone
from benchmarks.zoo.pages import SIDE, pages
from benchmarks.zoo.phrases import WORDS, phrase
from benchmarks.zoo.ppocr_cls import images as turned_images
from benchmarks.zoo.ppocr_det import kernel_mask
from benchmarks.zoo.ppocr_rec import encoded
from benchmarks.zoo.text_lines import HEIGHT, WIDTH, normalised, text_lines
from benchmarks.zoo.vad_clips import CONTEXT, FRAME, clip, framed
from benchmarks.zoo.vad_clips import FRAMES as CLIP_FRAMES

FACE = [Path("default.ttf")]


@pytest.fixture
def default_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw with the face that Pillow carries, as the pinned ones need the network."""
    face = ImageFont.load_default(20)
    assert isinstance(face, ImageFont.FreeTypeFont)
    monkeypatch.setattr(ImageFont, "truetype", lambda _, size, **__: face.font_variant(size=size))
    yield


def test_phrases_are_ascii_and_vary() -> None:
    g = np.random.default_rng(0)
    found = {phrase(g) for _ in range(200)}
    assert len(found) > 180
    assert all(text.isascii() and 3 <= len(text) <= 40 and text == text.strip() for text in found)
    assert len(WORDS) == len(set(WORDS))


@pytest.mark.usefixtures("default_font")
def test_lines_fit_differ_and_repeat() -> None:
    first, second = text_lines(12, 3, FACE), text_lines(12, 3, FACE)
    assert len({line.text for line in first}) == 12
    assert all(a.text == b.text and (a.pixels == b.pixels).all() for a, b in zip(first, second, strict=True))
    assert all(line.pixels.shape[0] == HEIGHT and line.pixels.shape[1] <= WIDTH for line in first)
    assert {line.text for line in text_lines(12, 4, FACE)} != {line.text for line in first}


@pytest.mark.usefixtures("default_font")
def test_odd_lines_are_turned() -> None:
    line = text_lines(1, 3, FACE)[0]
    upright, turned = turned_images([line, line])
    width = min(192, line.pixels.shape[1])
    np.testing.assert_array_equal(upright[:, ::-1, :width][:, :, ::-1], turned[:, :, :width])


def test_normalised_lines_are_padded_with_zeros() -> None:
    x = normalised(np.full((HEIGHT, 100), 255, np.uint8), WIDTH)
    assert x.shape == (3, HEIGHT, WIDTH)
    assert (x[:, :, :100] == 1).all() and (x[:, :, 100:] == 0).all()


def test_labels_are_class_indices_padded_with_minus_one() -> None:
    assert encoded(["ba", "c"], ["", "a", "b", "c"]).tolist() == [[2, 1], [3, -1]]


@pytest.mark.usefixtures("default_font")
def test_page_boxes_lie_on_the_page_and_hold_the_kernels() -> None:
    for page in pages(3, 5, FACE, [Image.new("RGB", (60, 40), "teal")]):
        assert page.pixels.shape == (SIDE, SIDE, 3)
        assert all(0 <= a < c <= SIDE and 0 <= b < d <= SIDE for a, b, c, d in page.boxes)
        mask = kernel_mask(page)[0]
        assert 0 < mask.sum() < sum((c - a) * (d - b) for a, b, c, d in page.boxes)


def test_boxes_of_a_map_grow_back() -> None:
    probability = np.zeros((60, 100), np.float32)
    probability[20:30, 10:90] = 0.9
    probability[50:52, 10:12] = 0.9  # too small
    (box,) = boxes_of(probability)
    grow = 10 * 80 / (2 * 90)
    assert box == pytest.approx((10 - grow, 20 - grow, 90 + grow, 30 + grow))


def test_f1_counts_each_found_box_once() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    assert overlap(box, (5.0, 0.0, 15.0, 10.0)) == pytest.approx(1 / 3)
    assert f1([([box], [box, box])], 0.5) == pytest.approx(2 / 3)
    assert f1([([], [])], 0.5) == 0


def test_clips_have_truth_for_every_frame() -> None:
    time = np.arange(24000) / 16000
    pool = [(0.1 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)]
    sound, truth = clip(pool, np.random.default_rng(1))
    again, _ = clip(pool, np.random.default_rng(1))
    np.testing.assert_array_equal(sound, again)
    assert truth.shape == (CLIP_FRAMES,) and set(truth.tolist()) == {-1, 0, 1}
    frames = framed(sound)
    assert frames.shape == (CLIP_FRAMES, CONTEXT + FRAME)
    np.testing.assert_array_equal(frames[1:, :CONTEXT], frames[:-1, -CONTEXT:])


def test_chords_have_truth_for_every_note() -> None:
    item = chord(np.random.default_rng(2))
    onsets, notes = onset_map(item), note_map(item)
    assert onsets.shape == notes.shape == (FRAMES, KEYS)
    assert all(onsets[start // HOP, key] == 1 for key, start, _ in item.notes)
    assert all(notes[(start + length // 2) // HOP, key] != 0 for key, start, length in item.notes)
    assert np.abs(item.sound).max() == pytest.approx(0.5)


def test_accepted_bins_are_within_half_a_semitone() -> None:
    frame, pitch = tone(np.random.default_rng(3))
    accepted = bins(pitch)
    cents = FIRST_BIN + BIN * accepted[accepted >= 0] - 1200 * np.log2(pitch / 10)
    assert len(cents) >= 4 and np.abs(cents).max() <= 50
    assert frame.mean() == pytest.approx(0, abs=1e-5) and frame.std() == pytest.approx(1, abs=1e-5)
