"""A session of ONNX Runtime from plain data: needs NumPy and ``onnxruntime``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PROVIDERS = ["CPUExecutionProvider"]
DTYPES: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    **{f"tensor({u}int{n})": f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)},
    "tensor(bool)": "bool",
    "tensor(string)": "string",
}
"""NumPy's name of each element type that it has; texts are ``string``."""


def session_options(ort: Any, settings: Mapping[str, Any]) -> Any:
    """The ``onnxruntime.SessionOptions``, silent and sequential.

    Args:
        ort: The module ``onnxruntime``.
        settings: ``threads``; ``graph_optimization``, the name of a member of ``GraphOptimizationLevel``; ``entries``,
            texts by the names of configuration entries.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, settings["graph_optimization"])
    for key, value in settings["entries"].items():
        options.add_session_config_entry(key, value)
    return options


class OnnxSession:
    """Call it with a dict of arrays, get a dict of arrays.

    Args:
        path: The model.
        settings: See ``session_options``.

    Raises:
        Exception: ONNX Runtime refuses the model.
        ValueError: An input or output is not a tensor.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        self._session = onnxruntime.InferenceSession(
            os.fspath(path), session_options(onnxruntime, settings), providers=list(PROVIDERS)
        )
        for side in (*self._session.get_inputs(), *self._session.get_outputs()):
            if not side.type.startswith("tensor("):
                raise ValueError(f"{side.name!r} is not a tensor but {side.type}")
        self.inputs: tuple[tuple[str, str | None, tuple[int | str | None, ...]], ...] = tuple(
            (i.name, DTYPES.get(i.type), tuple(i.shape)) for i in self._session.get_inputs()
        )
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. Raises what ONNX Runtime raises."""
        return dict(zip(self.outputs, self._session.run(None, dict(feeds)), strict=True))
