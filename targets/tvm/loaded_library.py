"""A library of TVM in this process, for applications; while compiling it runs in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tamis.compiler.errors import LoweringError, RuntimeFailureError
from tamis.compiler.feed_check import check_feeds
from tamis.compiler.graph_pass import Feeds
from tamis.targets.links import serve_model


def library_kind(settings: Mapping[str, Any]) -> str:
    """Which of ``serve_model.KINDS`` an artifact is."""
    return "tvm-cuda" if settings.get("gpu") else "tvm"


class LoadedLibrary:
    """Call it with a dict of arrays, get a dict of arrays. Inputs are copied; use it from one thread at a time.

    Args:
        path: The library.
        settings: Of the artifact.

    Attributes:
        input_names, output_names: In the model's order.

    Raises:
        LoweringError: The library cannot be loaded: TVM's runtime is missing, or it is for another machine.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._where = str(path)
        try:
            self._library = serve_model.load(library_kind(settings), str(path), settings)
        except (OSError, ImportError, RuntimeError, KeyError, TypeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise LoweringError("the library cannot be loaded", where=self._where, found=found[:400]) from error
        self.input_names: tuple[str, ...] = tuple(name for name, _, _ in self._library.inputs)
        self.output_names: tuple[str, ...] = self._library.outputs

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            DataError: An input is missing, unknown, or of the wrong dtype or shape.
            RuntimeFailureError: A kernel failed.
        """
        try:
            return self._library(feeds)
        except Exception as error:  # TVM's classes derive from Exception directly
            check_feeds(feeds, self._library.inputs, where=self._where)
            raise RuntimeFailureError("tvm failed", where=self._where, found=str(error)[:400]) from error
