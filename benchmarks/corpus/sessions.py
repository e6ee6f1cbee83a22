"""Models in ONNX Runtime with inputs and outputs of every type that its Python interface can carry.

Tensors of types that numpy has go through the runtime as the compiler uses it. Sequences, optionals, and the narrow
floating-point types of the package ``ml_dtypes`` go through a session of the same settings.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from tamis.compiler.errors import LoweringError, RuntimeFailureError
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tamis.targets.onnxruntime.session import import_onnxruntime, reason_of
from tamis.targets.onnxruntime.settings import OnnxRuntimeOptions, Settings

NARROW = {
    "tensor(bfloat16)": ml_dtypes.bfloat16,
    "tensor(float8e4m3fn)": ml_dtypes.float8_e4m3fn,
    "tensor(float8e4m3fnuz)": ml_dtypes.float8_e4m3fnuz,
    "tensor(float8e5m2)": ml_dtypes.float8_e5m2,
    "tensor(float8e5m2fnuz)": ml_dtypes.float8_e5m2fnuz,
}
"""Types of which values are handed over as bytes."""
THREADS = 1
RUNTIME = OnnxRuntime(OnnxRuntimeOptions(threads=THREADS))


class CannotFeed(Exception):
    """The Python interface of ONNX Runtime has no way to hand over such a value."""


class Session:
    """Call it with inputs by name, get the outputs in order.

    Args:
        model: Of any input and output types.
        optimize: False computes each node as it is written.

    Raises:
        LoweringError: ONNX Runtime refuses the model.
    """

    def __init__(self, model: ir.Model, *, optimize: bool) -> None:
        self._runner = RUNTIME.load_model(model, optimize=optimize) if _is_plain(model) else None
        if self._runner is None:
            settings = Settings(threads=THREADS)
            self._session = _open(ir.to_proto(model), settings if optimize else settings.as_written())

    def __call__(self, feeds: Mapping[str, Any]) -> list[Any]:
        """Run once.

        Raises:
            RuntimeFailureError: A node failed.
            CannotFeed: An input is of a type that cannot be handed over.
        """
        if self._runner is not None:
            return list(self._runner(feeds).values())
        kinds = {side.name: side.type for side in (*self._session.get_inputs(), *self._session.get_outputs())}
        narrow = any(kind in NARROW for kind in kinds.values())
        try:
            return self._run_narrow(feeds, kinds) if narrow else list(self._session.run(None, dict(feeds)))
        except CannotFeed:
            raise
        except Exception as error:  # its classes derive from Exception directly
            raise RuntimeFailureError("onnxruntime failed", found=reason_of(error)) from error

    def _run_narrow(self, feeds: Mapping[str, Any], kinds: Mapping[str, str]) -> list[Any]:
        if not all(kind.startswith("tensor(") for kind in kinds.values()):
            raise CannotFeed("a sequence or optional beside a narrow type")
        values = {name: _ort_value(array) for name, array in feeds.items()}
        return [_array(value) for value in self._session.run_with_ort_values(None, values)]


def _open(proto: onnx.ModelProto, settings: Settings) -> Any:
    ort = import_onnxruntime()
    try:
        return ort.InferenceSession(
            proto.SerializeToString(), settings.session_options(ort), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its classes derive from Exception directly
        raise LoweringError("onnxruntime refuses the model", found=reason_of(error)) from error


def _is_plain(model: ir.Model) -> bool:
    """Whether all graph inputs and outputs are tensors of types that numpy has."""
    values = (*model.graph.inputs, *model.graph.outputs)
    return all(isinstance(v.type, ir.TensorType) and v.dtype is not None and _has_numpy(v.dtype) for v in values)


def _has_numpy(dtype: ir.DataType) -> bool:
    return dtype == ir.DataType.STRING or bool(dtype.numpy().isbuiltin == 1)


def _ort_value(array: np.ndarray[Any, Any]) -> Any:
    make = import_onnxruntime().OrtValue
    if array.dtype.isbuiltin == 1:
        return make.ortvalue_from_numpy(array)
    if array.dtype not in [np.dtype(kind) for kind in NARROW.values()]:
        raise CannotFeed(f"arrays of {array.dtype.name}")
    number = ir.DataType.from_numpy(array.dtype).value
    return make.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), number)


def _array(value: Any) -> np.ndarray[Any, Any]:
    narrow = NARROW.get(value.data_type())
    if narrow is None:
        found: np.ndarray[Any, Any] = value.numpy()
        return found
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, narrow).reshape(value.shape())
