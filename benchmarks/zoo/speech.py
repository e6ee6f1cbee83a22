"""Recorded speech of three people out of PyPI wheels: a conversation, and letters and digits read aloud.

- ``pyannote-audio==4.0.0`` (MIT): 30 s of two people on the telephone, 16 kHz; the turns of the package's own
  annotation, long ones cut in two.
- ``captcha==0.7.1`` (BSD-3-Clause): one voice, the 26 letters and 10 digits, 8 kHz, joined to strings of 3 to 6.

The two parts, for calibration and for evaluation, share no turn, letter or digit.
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from benchmarks.zoo.fetch import Package

RATE = 16000  # samples a second
LEVEL = 0.05  # root mean square that every utterance is brought to
CONVERSATION = Package("pypi", "pyannote-audio", "4.0.0")
RECORDING = "pyannote/audio/sample/sample.wav"
RECORDING_DIGEST = "c319b4abca767b124e41432d364fd7df006cb26bb79d09326c487d606a134e6e"
SPELLED = Package("pypi", "captcha", "0.7.1")
SPELLED_DIGEST = "0a6fb24ffd2e9cf4cb99ac227a23188aef13745a13de46a4b24dfc6746fa585b"
SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Part = Literal["calibration", "evaluation"]
Sound = NDArray[np.float32]

# seconds from the start of the recording
TURNS: dict[Part, tuple[tuple[float, float], ...]] = {
    "calibration": ((7.55, 9.9), (10.57, 12.9), (12.9, 14.4)),
    "evaluation": ((14.6, 17.9), (18.1, 21.4), (21.8, 25.1), (25.1, 27.8), (27.9, 29.9)),
}
READ: dict[Part, str] = {"calibration": "ABCDEFGHIJKLM", "evaluation": "NOPQRSTUVWXYZ0123456789"}


def utterances(part: Part, count: int, g: np.random.Generator) -> list[Sound]:
    """All turns of the part and ``count`` read strings, each ``float32 [samples]`` at 16 kHz.

    Raises:
        FetchError: A package cannot be had.
    """
    recording = _samples(CONVERSATION.file(RECORDING, RECORDING_DIGEST))
    turns = [recording[round(a * RATE) : round(b * RATE)] for a, b in TURNS[part]]
    files = SPELLED.group([f"captcha/data/{sign}/default.wav" for sign in SIGNS], SPELLED_DIGEST)
    voice = {sign: _trimmed(_samples(files[f"captcha/data/{sign}/default.wav"])) for sign in READ[part]}
    strings = [
        _joined([voice[READ[part][i]] for i in g.integers(len(voice), size=int(g.integers(3, 7)))])
        for _ in range(count)
    ]
    return [_levelled(sound) for sound in (*turns, *strings)]


def _samples(path: Path) -> Sound:
    """A mono WAV file of 8 or 16 bits as numbers in -1 .. 1 at 16 kHz."""
    with wave.open(str(path)) as file:
        rate, raw = file.getframerate(), file.readframes(file.getnframes())
        sound: NDArray[Any]
        if file.getsampwidth() == 1:
            sound = (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
        else:
            sound = np.frombuffer(raw, "<i2").astype(np.float64) / 32768
    return np.asarray(signal.resample_poly(sound, RATE // rate, 1), np.float32)


def _trimmed(sound: Sound) -> Sound:
    """Without the quiet start and end."""
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    return sound[loud[0] : loud[-1] + 1]


def _joined(sounds: list[Sound]) -> Sound:
    gap = np.zeros(RATE // 10, np.float32)
    return np.concatenate([piece for sound in sounds for piece in (sound, gap)])


def _levelled(sound: Sound) -> Sound:
    return np.asarray(sound * (LEVEL / np.sqrt(np.mean(sound**2))), np.float32)
