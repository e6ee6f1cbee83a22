"""Models opened for running, each by its runtime, on so many threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Feeds
from tamis.compiler.bundle import open_bundle
from tamis.compiler.loaded_model import bundle_runtime

Outputs = list[np.ndarray[Any, Any]]
Run = Callable[[Feeds], Outputs]


def options(threads: int) -> Any:
    """Sessions as they come, but silent, and without threads that spin on into what is timed next."""
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.log_severity_level = 4
    made.add_session_config_entry("session.force_spinning_stop", "1")
    return made


def by_onnxruntime(model: Path, threads: int) -> Run:
    """Under ``ORT_ENABLE_ALL``."""
    session = onnxruntime.InferenceSession(str(model), options(threads), providers=["CPUExecutionProvider"])
    return lambda feeds: list(session.run(None, feeds))


def opened(made: Candidate, names: tuple[str, ...], threads: int) -> Run:
    """The candidate; gives its outputs in the order of ``names``."""
    if made.run_by == "onnxruntime":
        return by_onnxruntime(made.path, threads)
    run = _bundle(made.path) if made.run_by == "tamis" else _openvino(made.path, threads)
    return lambda feeds: _ordered(run(feeds), names)


def _bundle(path: Path) -> Callable[[Feeds], Mapping[str, np.ndarray[Any, Any]]]:
    bundle = open_bundle(path, check=False)
    return bundle_runtime(bundle).load(bundle.folder, bundle.artifact)


def _openvino(path: Path, threads: int) -> Callable[[Feeds], Mapping[str, np.ndarray[Any, Any]]]:
    compiled = compiled_by_openvino(path, threads)
    request = compiled.create_infer_request()
    names = [output.get_any_name() for output in compiled.outputs]

    def run(feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        found = request.infer(feeds, share_inputs=True, share_outputs=False)
        return {name: found[i] for i, name in enumerate(names)}

    return run


def compiled_by_openvino(path: Path, threads: int) -> Any:
    """OpenVINO's compiled model; floats stay 32 bits wide."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.Core().compile_model(path, "CPU", settings)


def _ordered(outputs: Mapping[str, np.ndarray[Any, Any]], names: tuple[str, ...]) -> Outputs:
    """OpenVINO may call an output by another of its names; then its place counts."""
    if set(names) <= set(outputs):
        return [outputs[name] for name in names]
    return list(outputs.values())
