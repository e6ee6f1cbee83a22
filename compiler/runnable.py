"""Open a bundle or a plain ONNX model for running, whichever a path is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.bundle import Bundle, is_bundle, open_bundle
from tamis.compiler.loaded_model import bundle_runtime
from tamis.compiler.machine import find_machine
from tamis.compiler.model_file import load_model
from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class
from tamis.compiler.target import Artifact, Runner, Runtime


@dataclass(frozen=True)
class Runnable:
    """A model that can be run, with what is known of its inputs.

    Args:
        runner: Call it with feeds.
        model: The graph, for names, dtypes and shapes of the inputs.
    """

    runner: Runner
    model: ir.Model

    @property
    def inputs(self) -> list[ir.Value]:
        """The graph inputs that must be fed, in order."""
        return [v for v in self.model.graph.inputs if v.name not in self.model.graph.initializers]


def open_runnable(path: Path, *, threads: int | None = None, optimize: bool = True) -> Runnable:
    """Open ``path``.

    Args:
        path: A bundle (folder or zip) or an ONNX file; a plain model runs on the reference runtime.
        threads: Threads of a plain model; a bundle has its own settings.
        optimize: False computes each node of a plain model as it is written.

    Raises:
        ModelError, BundleError: The file cannot be read.
        LoweringError: The runtime refuses the model.
    """
    if is_bundle(path):
        bundle = open_bundle(path)
        return Runnable(bundle_runtime(bundle).load(bundle.folder, bundle.artifact), _interface(bundle))
    model = load_model(path)
    if not optimize:
        return Runnable(load_unoptimized(model), model)
    runtime = runtime_class(REFERENCE_RUNTIME)()
    settings = runtime.default_settings(find_machine("host"))
    if threads is not None:
        settings["threads"] = threads
    return Runnable(runtime.load(path.parent, Artifact(runtime.name, (path.name,), settings)), model)


def _interface(bundle: Bundle) -> ir.Model:
    """A model with the bundle's inputs and no nodes."""
    inputs = [
        ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(_element_type(tensor.dtype)))
        for name, tensor in bundle.report.inputs.items()
    ]
    return ir.Model(ir.Graph(inputs, [], nodes=[], opset_imports={"": 17}), ir_version=8)


def _element_type(name: str) -> ir.DataType:
    """Of NumPy's name of it; texts are objects there."""
    dtype = np.dtype(name)
    return ir.DataType.STRING if dtype.kind in "UOS" else ir.DataType.from_numpy(dtype)


def load_unoptimized(model: ir.Model) -> Runner:
    """A runner of the reference runtime that computes every node as it is written."""
    return runtime_class(REFERENCE_RUNTIME)().load_model(model, optimize=False)


def load_for_scores(model: ir.Model, runtime: Runtime[Any]) -> Runner:
    """A fast runner of a model between two steps, for task metrics: of ``runtime`` if it takes any model."""
    return (runtime if runtime.measures_steps else runtime_class(REFERENCE_RUNTIME)()).load_model(model)
