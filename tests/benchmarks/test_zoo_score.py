"""A score is the recipe's metric over all samples, followed by the entry's details."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.folder import write_npz, write_recipe
from benchmarks.zoo.mnist import entries
from benchmarks.zoo.onnx_session import session
from benchmarks.zoo.score import metric_of, score


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network with 20 images, of which it has 15 right."""
    shutil.copyfile(Path(entries.__file__).with_name("small.onnx"), tmp_path / "model.onnx")
    images = np.random.default_rng(0).random((20, 1, 28, 28), np.float32)
    labels = session(tmp_path / "model.onnx").run(None, {"x": images})[0].argmax(1)
    labels[:5] = (labels[:5] + 1) % 10
    write_npz(tmp_path / "evaluation.npz", {"x": images, "labels": labels})
    write_recipe(tmp_path, {"x": (1, 1, 28, 28)}, "accuracy", 1)
    return tmp_path


def example(details: dict[str, float] | None = None) -> ZooEntry:
    more = (lambda _folder, _model: details) if details else None
    return ZooEntry("example", "Example", "none", "none", "none", lambda _: None, details=more)


def test_takes_the_metric_of_the_recipe(folder: Path) -> None:
    assert score(example(), folder, folder / "model.onnx") == {"accuracy": 0.75}


def test_samples_may_carry_the_batch_axis_themselves(folder: Path) -> None:
    with np.load(folder / "evaluation.npz") as data:
        write_npz(folder / "evaluation.npz", {"x": data["x"][:, None], "labels": data["labels"]})
    assert score(example(), folder, folder / "model.onnx") == {"accuracy": 0.75}


def test_adds_the_details(folder: Path) -> None:
    assert score(example({"F1": 0.5}), folder, folder / "model.onnx") == {"accuracy": 0.75, "F1": 0.5}


def test_a_recipe_without_a_metric_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("version: 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="names no metric"):
        metric_of(tmp_path)
