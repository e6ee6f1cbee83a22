"""Synthetic chords with the exact time and key of every note: the data of the note transcriber.

A clip is 43844 samples at 22050 Hz (1.99 s) with 1 to 4 plucked notes of 0.33 to 1 s between the piano keys
15 and 69 (C2 to F#6); a frame is 256 samples, a clip has 172 of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE, SAMPLES, HOP, FRAMES, KEYS = 22050, 43844, 256, 172, 88


@dataclass(frozen=True)
class Chord:
    """Sound ``float32 [43844]`` in -1 .. 1 and its notes: key, first sample, number of samples."""

    sound: NDArray[np.float32]
    notes: list[tuple[int, int, int]]


def chord(g: np.random.Generator) -> Chord:
    """One clip; its loudest sample is 0.5."""
    sound, notes = np.zeros(SAMPLES), []
    for _ in range(int(g.integers(1, 5))):
        key, start = int(g.integers(15, 70)), int(g.integers(0, SAMPLES - RATE))
        length = int(g.integers(RATE // 3, RATE))
        sound[start : start + length] += _note(g, 27.5 * 2 ** (key / 12), length)
        notes.append((key, start, length))
    sound += g.normal(0, 0.004, SAMPLES)
    return Chord((0.5 * sound / np.abs(sound).max()).astype(np.float32), notes)


def _note(g: np.random.Generator, pitch: float, length: int) -> NDArray[np.float64]:
    time = np.arange(length) / RATE
    partials = range(1, 1 + min(12, int(9000 / pitch)))
    tones = [k ** -g.uniform(1, 1.8) * np.sin(2 * np.pi * pitch * k * time + g.uniform(0, 6)) for k in partials]
    ramps = np.minimum(1, np.minimum(time, time[-1] - time) / 0.01)  # 10 ms up and down
    return np.asarray(np.sum(tones, axis=0) * np.exp(-time * g.uniform(1, 4)) * ramps, np.float64)


def onset_map(item: Chord) -> NDArray[np.int64]:
    """1 at the frame where a note starts, -1 (not scored) within 4 frames of it, else 0: ``int64 [172, 88]``."""
    roll = np.zeros((FRAMES, KEYS), np.int64)
    for key, start, _ in item.notes:
        roll[max(0, start // HOP - 4) : start // HOP + 5, key] = -1
    for key, start, _ in item.notes:
        roll[start // HOP, key] = 1
    return roll


def note_map(item: Chord) -> NDArray[np.int64]:
    """1 while a note sounds, -1 (not scored) within 4 frames of its start or end, else 0: ``int64 [172, 88]``."""
    roll = np.zeros((FRAMES, KEYS), np.int64)
    for key, start, length in item.notes:
        roll[start // HOP : (start + length) // HOP, key] = 1
    for key, start, length in item.notes:
        for edge in (start // HOP, (start + length) // HOP):
            roll[max(0, edge - 4) : edge + 5, key] = -1
    return roll
