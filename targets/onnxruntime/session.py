"""A model opened by ONNX Runtime: checks what is fed, runs, and turns its exceptions into ours."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from typing import Any

import numpy as np

from tamis.compiler.errors import LoweringError, RuntimeFailureError, TargetUnavailableError
from tamis.compiler.feed_check import check_feeds
from tamis.compiler.graph_pass import Feeds
from tamis.targets.links.onnx_session import DTYPES
from tamis.targets.onnxruntime.providers import HINTS, NAMES, absent
from tamis.targets.onnxruntime.settings import Settings

HINT = "pip install onnxruntime"

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
        TargetUnavailableError: The provider is not there, or does not start: ONNX Runtime itself would go on with the CPU.
    """

    def __init__(
        self, source: str | bytes, settings: Settings, *, where: str, options: Any = None, keep: object = None
    ) -> None:
        ort = import_onnxruntime()
        _prepare_gpu(ort, settings)
        self.settings = settings
        self._where = where
        self._keep = keep
        try:
            self._session = ort.InferenceSession(
                source,
                options or settings.session_options(ort),
                providers=settings.session_providers(),
                enable_fallback=0,
            )
        except RuntimeError as error:  # not of its own classes: a provider's libraries are missing
            raise self._not_started(reason_of(error)) from error
        except Exception as error:  # its classes derive from Exception directly
            raise LoweringError("onnxruntime refuses the model", where=where, found=reason_of(error)) from error
        self._require_started()
        self._inputs = tuple((i.name, DTYPES.get(i.type), tuple(i.shape)) for i in self._session.get_inputs())
        self.input_names: tuple[str, ...] = tuple(name for name, _, _ in self._inputs)
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
            # not before: it costs a small model several percent of its speed
            check_feeds(feeds, self._inputs, where=self._where)
            raise RuntimeFailureError("onnxruntime failed", where=self._where, found=reason_of(error)) from error
        return dict(zip(self.output_names, outputs, strict=True))

    def _require_started(self) -> None:
        running = self._session.get_providers()
        if NAMES[self.settings.provider or "cpu"] not in running:
            raise self._not_started(f"a session on {', '.join(running)}")

    def _not_started(self, found: str) -> TargetUnavailableError:
        provider = self.settings.provider or "cpu"
        return TargetUnavailableError(
            f"provider {provider} does not start",
            where=self._where,
            expected="a GPU, its driver, and the libraries that onnxruntime-gpu asks for",
            found=found,
            fix=HINTS[provider],
        )

    def end_profiling(self) -> str:
        """Stop profiling, which the options began; returns the path of the file with the events."""
        return str(self._session.end_profiling())


def _prepare_gpu(ort: Any, settings: Settings) -> None:
    """Refuse a provider that this build lacks; load the libraries of CUDA that pip has installed."""
    if settings.provider in (None, "cpu"):
        return
    if reason := absent(ort, settings.provider):
        raise TargetUnavailableError(reason)
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # it prints what it does not find; the session tells if that matters
        ort.preload_dlls()
