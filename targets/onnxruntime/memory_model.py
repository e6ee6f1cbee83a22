"""Open a model that is in memory without copying its weights.

Serializing weights into protobuf ends at 2 GiB and holds them three times (the graph's, the bytes, what the
runtime parses). Instead only the structure is serialized:

- weights in external files become references into those files, which the runtime maps itself;
- other weights of 1 KiB or more are handed over as the arrays that they are;
- small ones, those of subgraphs, and types that numpy does not have, stay in the serialized structure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import LoweringError
from tamis.compiler.model_file import EXTERNAL_FROM, reference_to, swapped
from tamis.targets.onnxruntime.session import SessionRunner, import_onnxruntime
from tamis.targets.onnxruntime.settings import Settings

FOLDER_KEY = "session.model_external_initializers_file_folder_path"
SIGNED_KEY = "session.qdqisint8allowed"
HANDED_OVER = "handed-over"
"""Stands where a file name would, in references whose weights are handed over as arrays."""


def open_in_memory(
    model: ir.Model, settings: Settings, configure: Callable[[Any], None] | None = None
) -> SessionRunner:
    """Open ``model``, which is left as it was.

    Args:
        model: Serialized without its large weights.
        settings: How to open it.
        configure: Gets the ``onnxruntime.SessionOptions`` for additions.

    Raises:
        LoweringError: ONNX Runtime refuses the model.
    """
    ort = import_onnxruntime()
    where = f"model {model.graph.name}" if model.graph.name else "the model"
    options = settings.session_options(ort)
    if configure is not None:
        configure(options)
    folder = _data_folder(model)
    if folder is not None:
        options.add_session_config_entry(FOLDER_KEY, str(folder))
    top = {id(value.const_value) for value in model.graph.initializers.values()}

    def outside(tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
        if isinstance(tensor, ir.ExternalTensor):
            return None if _stays_in_file(tensor, folder) else _replacement(tensor, id(tensor) in top)
        large = id(tensor) in top and tensor.nbytes >= EXTERNAL_FROM and _is_plain(tensor)
        return reference_to(HANDED_OVER, tensor) if large else None

    with swapped(model, outside) as replaced:
        try:
            source = ir.to_proto(model).SerializeToString(deterministic=True)
        except Exception as error:  # protobuf has its own classes
            raise LoweringError("the model cannot be serialized", where=where, found=str(error)) from error
        handed = [(v.name, t) for v, t in replaced if _is_handed_over(v.const_value)]
    arrays = [np.ascontiguousarray(tensor.numpy()) for _, tensor in handed]
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in arrays]
    if values:
        options.add_external_initializers([name for name, _ in handed], values)
    return SessionRunner(source, settings, where=where, options=options, keep=(arrays, values))


def optimized_in_memory(model: ir.Model, settings: Settings, *, signed: bool = False) -> ir.Model:
    """The graph that ONNX Runtime makes of ``model``; its larger weights are names without elements.

    Args:
        model: Left as it is.
        settings: How to open it.
        signed: Take integer kernels for signed activations, as ONNX Runtime does by itself on ARM only.

    Raises:
        LoweringError: ONNX Runtime refuses the model.
    """
    with tempfile.TemporaryDirectory(prefix="tamis-optimized-") as name:
        path = Path(name) / "optimized.onnx"

        def configure(options: Any) -> None:
            write_optimized(options, path)
            if signed:
                options.add_session_config_entry(SIGNED_KEY, "1")

        open_in_memory(model, settings, configure)
        return ir.load(path)


def write_optimized(options: Any, path: Path) -> None:
    """Let the session write the graph that it executes to ``path``, with larger weights in a file beside it."""
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")


def _data_folder(model: ir.Model) -> Path | None:
    """Folder of the external data; the first one, if weights come from several."""
    return next((Path(str(t.base_dir)).absolute() for t in _external(model)), None)


def _external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value


def _stays_in_file(tensor: ir.ExternalTensor, folder: Path | None) -> bool:
    return Path(str(tensor.base_dir)).absolute() == folder


def _replacement(tensor: ir.ExternalTensor, top: bool) -> ir.TensorProtocol:
    if top and tensor.nbytes >= EXTERNAL_FROM and _is_plain(tensor):
        return reference_to(HANDED_OVER, tensor)
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=ir.Shape(tensor.shape), name=tensor.name)


def _is_plain(tensor: ir.TensorProtocol) -> bool:
    """Whether numpy itself, without extension types, has the element type."""
    if tensor.dtype == ir.DataType.STRING:
        return False
    dtype: np.dtype[Any] = tensor.dtype.numpy()
    return dtype.isbuiltin == 1 and tensor.dtype.itemsize == dtype.itemsize


def _is_handed_over(tensor: ir.TensorProtocol | None) -> bool:
    return isinstance(tensor, ir.ExternalTensor) and tensor.location == HANDED_OVER
