"""The task metric of a model on an entry's evaluation data, computed by tamis' own metrics.

Data format: one array per graph input, named as the input. Sample i is ``a[i:i+1]`` when the array has the
input's rank and ``a[i]`` when it has one more; ``labels[i]`` belongs to sample i.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.onnx_session import session
from tamis.compiler.metrics import get_metric


def score(entry: ZooEntry, folder: Path, model: Path) -> dict[str, float]:
    """Metric -> value of ``model`` on the evaluation data of ``folder``, then the entry's details.

    Raises:
        ValueError: The recipe of the folder names no metric.
    """
    name = metric_of(folder)
    metric = get_metric(name)
    run = session(model)
    ranks = {value.name: len(value.shape) for value in run.get_inputs()}
    outputs = [value.name for value in run.get_outputs()]
    with np.load(folder / "evaluation.npz") as file:
        data = {key: file[key] for key in file.files}
    for i, labels in enumerate(data["labels"]):
        feeds = {n: np.asarray(data[n][i] if data[n].ndim > r else data[n][i : i + 1]) for n, r in ranks.items()}
        metric.update(dict(zip(outputs, run.run(None, feeds), strict=True)), np.asarray(labels))
    details = entry.details(folder, model) if entry.details else {}
    return {name: float(metric.result()), **details}


def metric_of(folder: Path) -> str:
    """The metric that the folder's recipe names."""
    for line in (folder / "recipe.yaml").read_text(encoding="utf-8").splitlines():
        if "metric: " in line:
            return line.rpartition("metric: ")[2].rstrip("}")
    raise ValueError(f"{folder / 'recipe.yaml'} names no metric")
