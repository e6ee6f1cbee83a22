"""What is fed to a loaded model against the inputs that it has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tamis.compiler.errors import DataError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.registry import nearest

TEXT = "string"
TEXT_KINDS = "UOS"
"""Kinds of NumPy arrays that can hold texts."""

Shape = tuple[int | str | None, ...]
Input = tuple[str, str | None, Shape]
"""Name; NumPy's name of the element type, ``string`` for texts, None if any will do; shape, text or None for any size."""


def check_feeds(feeds: Feeds, inputs: Iterable[Input], *, where: str) -> None:
    """Refuse feeds that do not fit.

    Args:
        feeds: Input name -> array.
        inputs: Of the model. An empty shape fits all.
        where: Names the model in errors.

    Raises:
        DataError: An input is missing, unknown, or of the wrong dtype or shape.
    """
    inputs = tuple(inputs)
    names = [name for name, _, _ in inputs]
    if feeds.keys() != set(names):
        raise _wrong_names(feeds, names, where)
    for name, dtype, shape in inputs:
        array = feeds[name]
        if not isinstance(array, np.ndarray):
            raise DataError(
                "not an array", where=f"input {name!r}", expected="numpy.ndarray", found=type(array).__name__
            )
        fits = array.dtype.kind in TEXT_KINDS if dtype == TEXT else dtype is None or array.dtype == np.dtype(dtype)
        if not fits:
            raise DataError(
                "wrong element type",
                where=f"input {name!r}",
                expected=dtype,
                found=str(array.dtype),
                fix="convert the array with astype",
            )
        if shape and not _fits(array.shape, shape):
            raise DataError("wrong shape", where=f"input {name!r}", expected=_show(shape), found=_show(array.shape))


def _wrong_names(feeds: Feeds, names: list[str], where: str) -> DataError:
    for name in feeds:
        if name not in names:
            return DataError(
                f"the model has no input {name!r}{nearest(name, names)}",
                where=where,
                expected=", ".join(names) or "no inputs at all",
            )
    missing = [name for name in names if name not in feeds]
    return DataError(f"no array for input {', '.join(map(repr, missing))}", where=where)


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(
        size == want for size, want in zip(shape, wanted, strict=True) if isinstance(want, int)
    )


def _show(shape: Shape) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
