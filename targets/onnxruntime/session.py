"""A model opened by ONNX Runtime: checks what is fed, runs, and turns its exceptions into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from tamis.compiler.errors import DataError, LoweringError, RuntimeFailureError, TargetUnavailableError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.registry import nearest
from tamis.targets.onnxruntime.settings import Settings

PROVIDERS = ["CPUExecutionProvider"]
HINT = "pip install onnxruntime"
DTYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16),
    **{f"tensor({u}int{n})": np.dtype(f"{u}int{n}") for u in ("", "u") for n in (8, 16, 32, 64)},
    "tensor(bool)": np.dtype(np.bool_),
}
"""Element types that a numpy array can have; ``tensor(string)`` is handled by its kind."""
STRING_KINDS = "UOS"

_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"/\S+\.(?:cc|cpp|h):\d+ (?:[^()]*\([^()]*\)(?: const)? )?")
_LONGEST = 400


@cache
def import_onnxruntime() -> Any:
    """The module ``onnxruntime``, told to print nothing.

    Raises:
        TargetUnavailableError: It is not installed, or cannot be loaded.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise TargetUnavailableError("onnxruntime cannot be imported", found=str(error), fix=HINT) from error
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


def reason_of(error: Exception) -> str:
    """What an exception of ONNX Runtime says, without its code and its place in the C++ sources."""
    text = " ".join(_PLACE.sub("", _CODE.sub("", str(error).strip())).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


class SessionRunner:
    """Call it with a dict of arrays, get a dict of arrays.

    The session and its threads live as long as this object.

    Args:
        source: Path of a model file, or a serialized model.
        settings: How to open it.
        where: Names the model in errors.
        options: Session options made from ``settings`` with additions; made here if not given.
        keep: Objects that must live as long as the session, for example buffers of weights.

    Raises:
        LoweringError: ONNX Runtime refuses the model, or an input or output is not a tensor.
    """

    def __init__(
        self, source: str | bytes, settings: Settings, *, where: str, options: Any = None, keep: object = None
    ) -> None:
        ort = import_onnxruntime()
        self.settings = settings
        self._where = where
        self._keep = keep
        try:
            self._session = ort.InferenceSession(
                source, options or settings.session_options(ort), providers=list(PROVIDERS)
            )
        except Exception as error:  # its classes derive from Exception directly
            raise LoweringError("onnxruntime refuses the model", where=where, found=reason_of(error)) from error
        self._inputs = {i.name: (i.type, tuple(i.shape)) for i in self._session.get_inputs()}
        self.input_names: tuple[str, ...] = tuple(self._inputs)
        self.output_names: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        for side in (*self._session.get_inputs(), *self._session.get_outputs()):
            if not side.type.startswith("tensor("):
                raise LoweringError(
                    f"{side.name!r} is not a tensor",
                    where=where,
                    expected="inputs and outputs that are tensors",
                    found=side.type,
                    fix="export the model with tensors at its edges",
                )

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            DataError: An input is missing, unknown, or of the wrong dtype or shape.
            RuntimeFailureError: A node failed.
        """
        try:
            outputs = self._session.run(None, feeds if type(feeds) is dict else dict(feeds))
        except Exception as error:  # its classes derive from Exception directly
            self._check(feeds)  # not before: it costs a small model several percent of its speed
            raise RuntimeFailureError("onnxruntime failed", where=self._where, found=reason_of(error)) from error
        return dict(zip(self.output_names, outputs, strict=True))

    def end_profiling(self) -> str:
        """Stop profiling, which the options began; returns the path of the file with the events."""
        return str(self._session.end_profiling())

    def _check(self, feeds: Feeds) -> None:
        if feeds.keys() != self._inputs.keys():
            self._refuse_names(feeds)
        for name, (kind, shape) in self._inputs.items():
            array = feeds[name]
            if not isinstance(array, np.ndarray):
                raise DataError(
                    "not an array", where=f"input {name!r}", expected="numpy.ndarray", found=type(array).__name__
                )
            wanted = DTYPES.get(kind)
            strange = kind == "tensor(string)" and array.dtype.kind not in STRING_KINDS
            if strange or (wanted is not None and array.dtype != wanted):
                raise DataError(
                    "wrong element type",
                    where=f"input {name!r}",
                    expected=str(wanted or "string"),
                    found=str(array.dtype),
                    fix="convert the array with astype",
                )
            if shape and not _fits(array.shape, shape):
                raise DataError("wrong shape", where=f"input {name!r}", expected=_show(shape), found=_show(array.shape))

    def _refuse_names(self, feeds: Feeds) -> None:
        for name in feeds:
            if name not in self._inputs:
                raise DataError(
                    f"the model has no input {name!r}{nearest(name, self._inputs)}",
                    where=self._where,
                    expected=", ".join(self._inputs) or "no inputs at all",
                )
        missing = [name for name in self._inputs if name not in feeds]
        raise DataError(f"no array for input {', '.join(map(repr, missing))}", where=self._where)


def _fits(shape: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size == want for size, want in zip(shape, wanted, strict=True) if isinstance(want, int)
    )


def _show(shape: tuple[int | str | None, ...]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
