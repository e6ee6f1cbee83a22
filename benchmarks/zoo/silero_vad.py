"""Silero voice activity detector: is a frame of 32 ms speech? Two exports of the same weights.

Source: ``silero-vad==6.2.3`` (MIT), the models as shipped.

``silero-vad`` (one LSTM node, whole sequences): ``input: float32 [312, 576]``, frames of 64 + 512 samples at
16 kHz in -1 .. 1; ``h`` and ``c: float32 [1, 1, 128]``, zero. Output ``speech_probs [312]``. 6 calibration and 16
evaluation clips of ``vad_clips``; labels ``int64 [16, 312]``.

``silero-vad-if`` (the whole network inside nested Ifs on the sample rate): ``input: float32 [1, 576]``, one
frame; ``state: float32 [2, 1, 128]``, as the detector itself has left it after the frames before; ``sr: int64``,
16000. Output ``output [1, 1]``. Every 8th frame of 3 and 12 clips; labels ``int64 [468, 1, 1]``.

Labels: 1 speech, 0 none, -1 not scored. Metric: ``roc-auc`` over all scored frames.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.onnx_session import session
from benchmarks.zoo.speech import CONVERSATION, RATE, SPELLED, Part, Sound, utterances
from benchmarks.zoo.vad_clips import CONTEXT, FRAME, FRAMES, clip, framed

SILERO = Package("pypi", "silero-vad", "6.2.3")
SEQUENCE, NESTED = "silero_vad/data/silero_vad_16k_sequence.onnx", "silero_vad/data/silero_vad.onnx"
DIGESTS = {
    SEQUENCE: "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
    NESTED: "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
}
STRINGS = 40  # read strings in each part's pool
STEP = 8  # silero-vad-if takes every 8th frame
SEEDS: dict[Part, int] = {"calibration": 7, "evaluation": 8}


def build_sequence(folder: Path) -> None:
    """Write the folder of ``silero-vad``."""
    shutil.copyfile(SILERO.files(DIGESTS)[SEQUENCE], folder / "model.onnx")
    parts: tuple[tuple[Part, int], ...] = (("calibration", 6), ("evaluation", 16))
    for part, count in parts:
        sounds, truths = _clips(part, count)
        zeros = np.zeros((count, 1, 1, 128), np.float32)
        arrays: dict[str, NDArray[Any]] = {"input": np.stack([framed(s) for s in sounds]), "h": zeros, "c": zeros}
        if part == "evaluation":
            arrays["labels"] = np.stack(truths)
        write_npz(folder / f"{part}.npz", arrays)
    shapes = {"input": (FRAMES, CONTEXT + FRAME), "h": (1, 1, 128), "c": (1, 1, 128)}
    write_recipe(folder, shapes, "roc-auc", 6)


def build_nested(folder: Path) -> None:
    """Write the folder of ``silero-vad-if``."""
    shutil.copyfile(SILERO.files(DIGESTS)[NESTED], folder / "model.onnx")
    parts: tuple[tuple[Part, int], ...] = (("calibration", 3), ("evaluation", 12))
    for part, count in parts:
        sounds, truths = _clips(part, count)
        frames = np.stack([framed(sound) for sound in sounds])[:, ::STEP].reshape(-1, 1, CONTEXT + FRAME)
        states = np.concatenate([_states(folder / "model.onnx", sound)[::STEP] for sound in sounds])
        arrays: dict[str, NDArray[Any]] = {"input": frames, "state": states, "sr": np.full(len(frames), RATE, np.int64)}
        if part == "evaluation":
            arrays["labels"] = np.stack(truths)[:, ::STEP].reshape(-1, 1, 1)
        write_npz(folder / f"{part}.npz", arrays)
    size = CONTEXT + FRAME
    # The branch for 8 kHz is invalid at the frame size of 16 kHz, so the graph must keep the size open.
    shapes = {"input": (1, "S"), "state": (2, 1, 128), "sr": ()}
    samples = 3 * FRAMES // STEP
    write_recipe(folder, shapes, "roc-auc", samples, {"sr": (RATE, RATE)}, {"S": (size, size)})


def _clips(part: Part, count: int) -> tuple[list[Sound], list[NDArray[np.int64]]]:
    g = np.random.default_rng(SEEDS[part])
    pool = utterances(part, STRINGS, g)
    pairs = [clip(pool, g) for _ in range(count)]
    return [sound for sound, _ in pairs], [truth for _, truth in pairs]


def _states(model: Path, sound: Sound) -> NDArray[np.float32]:
    """The recurrent state before each frame: ``float32 [312, 2, 1, 128]``."""
    run, state = session(model), np.zeros((2, 1, 128), np.float32)
    states, rate = [], np.array(RATE, np.int64)
    for frame in framed(sound):
        states.append(state)
        _, state = run.run(None, {"input": frame[None], "state": state, "sr": rate})
    return np.stack(states)


SOURCE = f"{SILERO.spec}, {CONVERSATION.spec}, {SPELLED.spec}"
LICENCE = "MIT (model, conversation); BSD-3-Clause (letters and digits)"
ENTRIES = (
    ZooEntry("silero-vad", "Silero VAD, sequence", "voice activity detection", LICENCE, SOURCE, build_sequence),
    ZooEntry(
        "silero-vad-if", "Silero VAD, nested Ifs", "voice activity detection", LICENCE, SOURCE, build_nested, version=2
    ),
)
