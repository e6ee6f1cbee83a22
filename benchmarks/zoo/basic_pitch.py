"""Basic Pitch, a note transcriber with a constant-Q transform in its graph, on synthetic chords.

Source: ``basic-pitch==0.4.0`` (Apache-2.0), the model as shipped. Input ``serving_default_input_2:0: float32
[1, 43844, 1]``, 1.99 s at 22050 Hz in -1 .. 1. Outputs, in graph order: onsets ``[1, 172, 88]``, notes
``[1, 172, 88]``, contours ``[1, 172, 264]``; probabilities for frames of 11.6 ms and piano keys.

Data: 16 calibration and 40 evaluation chords of ``chords``. Labels: ``int64 [40, 1, 172, 88]``, 1 at the frame
where a note starts, -1 beside it. Metric: ``roc-auc`` of the onsets. Details: F1 of the sounding notes at 0.3,
whose truth is in ``notes.npz``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from benchmarks.zoo.chords import SAMPLES, chord, note_map, onset_map
from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.onnx_session import session

BASIC_PITCH = Package("pypi", "basic-pitch", "0.4.0")
MEMBER = "basic_pitch/saved_models/icassp_2022/nmp.onnx"
DIGEST = "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"
INPUT = "serving_default_input_2:0"
NOTES, THRESHOLD = 1, 0.3  # index of the output; probability from which a note sounds
CALIBRATION, EVALUATION, SEED = 16, 40, 7


def build(folder: Path) -> None:
    """Write the entry's folder."""
    shutil.copyfile(BASIC_PITCH.file(MEMBER, DIGEST), folder / "model.onnx")
    g = np.random.default_rng(SEED)
    every = [chord(g) for _ in range(CALIBRATION + EVALUATION)]
    sounds, evaluation = np.stack([item.sound for item in every])[:, :, None], every[CALIBRATION:]
    write_npz(folder / "calibration.npz", {INPUT: sounds[:CALIBRATION]})
    labels = np.stack([onset_map(item)[None] for item in evaluation])
    write_npz(folder / "evaluation.npz", {INPUT: sounds[CALIBRATION:], "labels": labels})
    write_npz(folder / "notes.npz", {"notes": np.stack([note_map(item) for item in evaluation])})
    write_recipe(folder, {INPUT: (1, SAMPLES, 1)}, "roc-auc", CALIBRATION)


def note_score(folder: Path, model: Path) -> dict[str, float]:
    """F1 of the cells (frame, key) that are said to sound."""
    run = session(model)
    sounds = np.load(folder / "evaluation.npz")[INPUT]
    said = np.stack([run.run(None, {INPUT: sound[None]})[NOTES][0] for sound in sounds]) > THRESHOLD
    truth = np.load(folder / "notes.npz")["notes"]
    hits, total = (said & (truth == 1)).sum(), (said & (truth >= 0)).sum() + (truth == 1).sum()
    return {"note F1": float(2 * hits / total)}


ENTRY = ZooEntry(
    name="basic-pitch",
    title="Basic Pitch",
    task="note transcription",
    licence="Apache-2.0 (model); data are synthetic",
    source=BASIC_PITCH.spec,
    build=build,
    details=note_score,
)
