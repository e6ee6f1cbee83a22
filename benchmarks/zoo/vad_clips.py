"""Speech laid into noise, with the truth frame by frame: the data of the voice activity detector.

A clip is 312 frames of 512 samples at 16 kHz (9.98 s): utterances with pauses, under white, pink, humming or
swelling noise 3 to 20 dB below the speech, with up to two beeps. A frame is speech when the clean signal is
above -38 dB of its loudest frame; gaps under 0.3 s count as speech, bursts under 0.1 s do not, and frames
within 64 ms of a change are not scored (-1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from benchmarks.zoo.speech import RATE, Sound

FRAME, FRAMES, CONTEXT = 512, 312, 64  # samples, frames, samples of the frame before
SAMPLES = FRAME * FRAMES
NOISES = ("white", "pink", "hum", "swell")


def clip(pool: Sequence[Sound], g: np.random.Generator) -> tuple[Sound, NDArray[np.int64]]:
    """One clip, ``float32 [159744]`` in -1 .. 1, and the truth ``int64 [312]``: 1 speech, 0 none, -1 not scored."""
    clean = np.zeros(SAMPLES)
    start = int(g.uniform(0.3, 2.0) * RATE)
    while True:
        sound = pool[int(g.integers(len(pool)))] * g.uniform(0.4, 1.0)
        if start + len(sound) > SAMPLES - RATE // 4:
            break
        clean[start : start + len(sound)] += sound
        start += len(sound) + int(g.uniform(0.6, 2.5) * RATE)
    truth = _truth(clean)
    spoken = np.repeat(truth == 1, FRAME)
    loudness = float(np.sqrt(np.mean(clean[spoken] ** 2))) if spoken.any() else 0.03
    noisy = clean + _noise(g) * loudness * 10 ** (-g.uniform(3, 20) / 20)
    for _ in range(int(g.integers(3))):
        length = int(g.integers(800, 8000))
        start = int(g.integers(SAMPLES - length))
        noisy[start : start + length] += loudness * np.sin(2 * np.pi * g.uniform(300, 2000) * np.arange(length) / RATE)
    return np.clip(noisy, -1, 1).astype(np.float32), truth


def framed(sound: Sound) -> NDArray[np.float32]:
    """Frames as the detector takes them, ``float32 [312, 576]``: the last 64 samples of the frame before, then 512."""
    frames = sound.reshape(FRAMES, FRAME)
    before = np.concatenate([np.zeros((1, CONTEXT), np.float32), frames[:-1, -CONTEXT:]])
    return np.concatenate([before, frames], axis=1)


def _truth(clean: NDArray[np.float64]) -> NDArray[np.int64]:
    level = np.sqrt((clean.reshape(FRAMES, FRAME) ** 2).mean(1))
    loud = level > max(10 ** (-38 / 20) * level.max(), 1e-5)
    speech = ndimage.binary_opening(ndimage.binary_closing(loud, np.ones(9, np.bool_)), np.ones(3, np.bool_))
    change = ndimage.binary_dilation(speech, np.ones(5, np.bool_)) & ~ndimage.binary_erosion(
        speech, np.ones(5, np.bool_), border_value=1
    )
    return np.where(change, -1, speech).astype(np.int64)


def _noise(g: np.random.Generator) -> NDArray[np.float64]:
    """Noise of unit power."""
    kind, noise = NOISES[int(g.integers(len(NOISES)))], g.normal(size=SAMPLES)
    time = np.arange(SAMPLES) / RATE
    if kind == "pink":  # 1/f by three poles and zeros
        noise = signal.lfilter([0.05, -0.096, 0.05, -0.0044], [1, -2.495, 2.017, -0.522], noise)
    elif kind == "hum":  # 50 Hz mains and its harmonics
        tones = [np.sin(2 * np.pi * 50 * k * time + g.uniform(0, 2 * np.pi)) / k for k in range(1, 9)]
        noise = 0.1 * noise + np.sum(tones, axis=0)
    elif kind == "swell":
        noise = noise * (1 + np.sin(2 * np.pi * g.uniform(0.2, 2) * time)) ** 2
    return np.asarray(noise / noise.std(), np.float64)
