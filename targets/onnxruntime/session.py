"""A loaded ONNX Runtime session as a ``Runner``, with errors of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from tamis.compiler.errors import DataError, LoweringError, RuntimeFailureError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.registry import nearest

if TYPE_CHECKING:
    import onnxruntime

NUMPY = {
    "float": "float32",
    "double": "float64",
    "int64": "int64",
    "int32": "int32",
    "int16": "int16",
    "int8": "int8",
    "uint64": "uint64",
    "uint32": "uint32",
    "uint16": "uint16",
    "uint8": "uint8",
    "bool": "bool",
    "float16": "float16",
    "string": "object",
}
"""Element type as ONNX Runtime writes it -> NumPy's name."""

LOG_ERRORS_ONLY = 3
ALL_OFF = "none"
CONFIG = {"allow_spinning": "session.intra_op.allow_spinning", "denormal_as_zero": "session.set_denormal_as_zero"}
"""Our settings that are session configuration entries of ONNX Runtime."""


def session_options(settings: Mapping[str, JsonValue]) -> onnxruntime.SessionOptions:
    """ONNX Runtime's options for our settings (the fields of ``OnnxRuntimeOptions``)."""
    import onnxruntime as ort

    levels = {
        ALL_OFF: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }
    options = ort.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = int(str(settings["threads"]))
    options.graph_optimization_level = levels[str(settings["optimization"])]
    for name, key in CONFIG.items():
        options.add_session_config_entry(key, "1" if settings[name] else "0")
    return options


class SessionRunner:
    """Runs one session.

    Args:
        model: A path, or a serialized model.
        options: Made by ``session_options``, possibly with external initializers added.
        keep: Whatever must live as long as the session (arrays behind its initializers, temporary folders).

    Raises:
        LoweringError: ONNX Runtime refuses the model.
    """

    def __init__(self, model: str | bytes, options: onnxruntime.SessionOptions, keep: object = None) -> None:
        import onnxruntime as ort

        self._keep = keep
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            raise LoweringError(
                "ONNX Runtime refuses the model", where=_place(model), found=first_line(error)
            ) from error
        inputs = self._session.get_inputs()
        self._inputs = {i.name: (NUMPY.get(_element(i.type), ""), i.shape) for i in inputs}
        self._optional = {i.name for i in self._session.get_overridable_initializers()}
        self._outputs = [o.name for o in self._session.get_outputs()]

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that must be fed, in graph order."""
        return tuple(self._inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in graph order."""
        return tuple(self._outputs)

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            DataError: An input is unknown, missing, or of the wrong dtype or shape.
            RuntimeFailureError: ONNX Runtime failed.
        """
        self._check(feeds)
        try:
            return dict(zip(self._outputs, self._session.run(None, dict(feeds)), strict=True))
        except Exception as error:  # as above
            raise RuntimeFailureError("ONNX Runtime failed", found=first_line(error)) from error

    def _check(self, feeds: Feeds) -> None:
        for name in feeds:
            if name not in self._inputs and name not in self._optional:
                raise DataError(
                    f"the model has no input {name!r}{nearest(name, self._inputs)}",
                    expected="one of " + ", ".join(self._inputs),
                )
        for name, (dtype, shape) in self._inputs.items():
            if name not in feeds:
                raise DataError(f"input {name!r} is missing", expected=", ".join(self._inputs))
            array = feeds[name]
            fits = len(shape) == array.ndim and all(
                not isinstance(d, int) or d == s for d, s in zip(shape, array.shape, strict=True)
            )
            if dtype and dtype != "object" and array.dtype.name != dtype:
                raise DataError(f"input {name!r} has the wrong dtype", expected=dtype, found=array.dtype.name)
            if not fits and shape is not None:
                raise DataError(
                    f"input {name!r} has the wrong shape",
                    expected="[" + ", ".join("?" if d is None else str(d) for d in shape) + "]",
                    found=str(list(array.shape)),
                )


def _element(kind: str) -> str:
    """``tensor(float)`` -> ``float``; anything that is no tensor -> an empty string."""
    return kind[len("tensor(") : -1] if kind.startswith("tensor(") else ""


def _place(model: str | bytes) -> str | None:
    return model if isinstance(model, str) else None


def first_line(error: Exception) -> str:
    """The meaningful part of an ONNX Runtime message: its first line without the status prefix."""
    line = next((part for part in str(error).splitlines() if part.strip()), type(error).__name__)
    prefix, _, rest = line.partition(" : ")
    while (
        rest and prefix.startswith(("[ONNXRuntimeError]", "INVALID", "FAIL", "NOT_IMPL", "RUNTIME"))
    ) or prefix.isdigit():
        prefix, _, rest = rest.partition(" : ")
    return f"{prefix} : {rest}" if rest else prefix
