"""What metrics ask of outputs and labels before they count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tamis.compiler.errors import DataError

Array = np.ndarray[Any, Any]


def first_output(outputs: Mapping[str, Array], metric: str, rank: int = 0) -> Array:
    """The first output as numbers.

    Raises:
        DataError: There is none, it has fewer than ``rank`` dimensions, is empty, or holds no numbers.
    """
    for name, array in outputs.items():
        if array.ndim < rank or not array.size or array.dtype.kind not in "biufV":
            expected = f"numbers with at least {rank} dimensions, not empty"
            found = f"{array.dtype} {list(array.shape)}"
            raise DataError(f"output {name!r} does not fit", where=f"metric {metric}", expected=expected, found=found)
        return array.astype(np.float32) if array.dtype.kind == "V" else array
    raise DataError("the model has no outputs", where=f"metric {metric}")


def integers(labels: Array, metric: str) -> Array:
    """The labels as int64.

    Raises:
        DataError: They are not whole numbers.
    """
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.round(labels))).all():
        raise DataError("labels must be whole numbers", where=f"metric {metric}", found=str(labels.reshape(-1)[:4]))
    return labels.astype(np.int64)


def zero_or_one(labels: Array, metric: str, *, ignored: bool) -> Array:
    """The labels as int64, each 0 or 1 (or -1 where a label may be missing).

    Raises:
        DataError: Another value.
    """
    whole = integers(labels, metric)
    legal = (-1, 0, 1) if ignored else (0, 1)
    if not np.isin(whole, legal).all():
        expected = " or ".join(str(value) for value in legal)
        found = str(int(whole[~np.isin(whole, legal)][0]))
        raise DataError("labels out of range", where=f"metric {metric}", expected=expected, found=found)
    return whole


def same_size(output: Array, labels: Array, metric: str) -> None:
    """Raise ``DataError`` unless there are as many labels as values."""
    if output.size != labels.size:
        raise DataError(
            "labels do not fit the output",
            where=f"metric {metric}",
            expected=f"{output.size} labels for output {list(output.shape)}",
            found=str(list(labels.shape)),
        )


def nothing_counted(metric: str, expected: str = "at least one labelled sample") -> DataError:
    """The error for a result over nothing; use as ``raise nothing_counted(...)``."""
    return DataError("there is nothing to compute the metric from", where=f"metric {metric}", expected=expected)
