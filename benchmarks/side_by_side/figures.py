"""A candidate against the model as given: task metric on the test half, size, speed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case
from benchmarks.side_by_side.runners import Run, by_onnxruntime, opened
from tamis.compiler.analysis.analyse import costs
from tamis.compiler.analysis.subject import open_subject
from tamis.compiler.bundle import open_bundle
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.metrics import get_metric
from tamis.compiler.model_file import load_model


def score(case: Case, made: Candidate) -> dict[str, Any]:
    """Metric before and after, loss of it (positive is worse), and size over that of the model's file."""
    before, after = (_metric(case, run) for run in (by_onnxruntime(case.model, case.threads), open_(case, made)))
    sign = 1 if get_metric(case.metric).higher_is_better else -1
    return {
        "metric": case.metric,
        "before": before,
        "after": after,
        "drop": sign * (before - after),
        "size": _size(made) / case.model.stat().st_size,
    }


def time(case: Case, made: Candidate, seconds: float, base: Candidate | None = None) -> dict[str, float]:
    """The base's time over the candidate's, in pairs, over several loads; the base is the model as given, unless told."""
    feeds = case.feeds("calibration")[0]
    first = base or Candidate(case.model)
    ratio = compare_loads(
        lambda: partial(open_(case, first), feeds), lambda: partial(open_(case, made), feeds), seconds=seconds
    )
    return {**ratio.summary(), "base_ms": ratio.median_a_ms, "made_ms": ratio.median_b_ms}


def macs(case: Case, made: Candidate) -> int | None:
    """MACs of one run of the ONNX file; None where an operator has no formula."""
    shapes = [f"{name}={','.join(map(str, array.shape))}" for name, array in case.feeds("calibration")[0].items()]
    return costs(open_subject(onnx_file(made), shapes)).macs


def open_(case: Case, made: Candidate) -> Run:
    """The candidate, ready to run; outputs are in the order of the model as given."""
    names = tuple(str(value.name) for value in load_model(case.model).graph.outputs)
    return opened(made, names, case.threads)


def onnx_file(made: Candidate) -> Path:
    """The ONNX file that ONNX Runtime runs."""
    if made.run_by != "tamis":
        return made.path
    bundle = open_bundle(made.path, check=False)
    return bundle.folder / bundle.artifact.files[0]


def _metric(case: Case, run: Run) -> float:
    names = [str(value.name) for value in load_model(case.model).graph.outputs]
    metric = get_metric(case.metric)
    for feeds, labels in zip(case.feeds("test"), case.labels("test"), strict=True):
        metric.update(dict(zip(names, run(feeds), strict=True)), labels)
    return float(metric.result())


def _size(made: Candidate) -> int:
    """Bytes of what is shipped to run it: the model's files, without records."""
    if made.run_by == "tamis":
        bundle = open_bundle(made.path, check=False)
        return sum((bundle.folder / name).stat().st_size for name in bundle.artifact.files)
    files = [made.path, made.path.with_suffix(".bin"), Path(f"{made.path}.data")]
    return sum(file.stat().st_size for file in files if file.exists())
