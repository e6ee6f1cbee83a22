"""What one entry of the zoo is: facts for the table, and a function that writes its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ZooEntry:
    """A float32 model with calibration data, labelled evaluation data and a recipe.

    Args:
        name: Kebab-case name, also the name of the folder.
        title: What the model is, for people.
        task: What it does, in a few words.
        licence: Licences of the weights and of the data.
        source: The packages with their versions, as their clients spell them.
        build: Writes ``model.onnx``, ``calibration.npz``, ``evaluation.npz`` (or the folders
            ``calibration/`` and ``evaluation/``) and ``recipe.yaml`` into an empty folder. The
            calibration and evaluation items are disjoint; the bytes depend on the entry alone.
        version: Raised whenever ``build`` writes something else; folders of another version are rebuilt.
        details: Further figures of a model file on the folder's evaluation data, name -> value.
    """

    name: str
    title: str
    task: str
    licence: str
    source: str
    build: Callable[[Path], None]
    version: int = 1
    details: Callable[[Path, Path], dict[str, float]] | None = None
