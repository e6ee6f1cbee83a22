"""What a graph input asks of a sample, and the check of an array against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import DataError
from tamis.compiler.recipe import InputSection

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SampleInput:
    """One graph input as samples must fit it.

    Args:
        name: As in the graph.
        dtype: Element type.
        shape: Fixed sizes; None where any size will do.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    @property
    def floating(self) -> bool:
        """True if the elements are floats, so that floats of another width may be converted."""
        return self.dtype.kind == "f" or self.dtype.name == "bfloat16"

    @property
    def shape_text(self) -> str:
        """The shape for messages, ``?`` where any size will do."""
        return "[" + ", ".join("?" if size is None else str(size) for size in self.shape) + "]"


def sample_inputs(values: Sequence[ir.Value], sections: Mapping[str, InputSection]) -> tuple[SampleInput, ...]:
    """The graph inputs, with sizes that the recipe fixes filled in.

    Raises:
        DataError: An input has no tensor type, or no known rank.
    """
    return tuple(sample_input(value, sections.get(str(value.name))) for value in values)


def sample_input(value: ir.Value, section: InputSection | None = None) -> SampleInput:
    """One graph input; ``section`` is what the recipe says about it."""
    name = str(value.name)
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        raise DataError("samples can only be given for tensors", where=f"input {name}", found=str(value.type))
    if value.shape is None and section is None:
        fix = f"give inputs.{name}.shape in the recipe"
        raise DataError("the number of dimensions is not known", where=f"input {name}", fix=fix)
    given = tuple(section.shape) if section else (None,) * len(value.shape or ())
    graph = tuple(value.shape) if value.shape is not None else given
    fixed = [
        next((size for size in sizes if isinstance(size, int) and size >= 0), None)  # some exporters write -1
        for sizes in zip(graph, given, strict=False)
    ]
    return SampleInput(name, np.dtype(value.dtype.numpy()), (*fixed, *(None,) * (len(graph) - len(fixed))))


def check_names(found: Sequence[str], inputs: Sequence[SampleInput], where: str) -> None:
    """Refuse names that no input has, and inputs that are not given.

    Raises:
        DataError: With the nearest name.
    """
    from tamis.compiler.registry import nearest

    names = [item.name for item in inputs]
    for name in found:
        if name not in names:
            raise DataError(
                f"the model has no input {name!r}{nearest(name, names)}", where=where, expected=" and ".join(names)
            )
    for name in names:
        if name not in found:
            raise DataError(f"the input {name!r} is missing", where=where, found=", ".join(found) or "no arrays")


def check_kind(shape: tuple[int, ...], dtype: np.dtype[Any], item: SampleInput, where: str) -> None:
    """Check shape and dtype of one sample without looking at its values.

    Raises:
        DataError: Wrong rank, a wrong size in a fixed dimension, or a dtype that cannot be converted safely.
    """
    fits = len(shape) == len(item.shape) and all(
        want in (None, size) for want, size in zip(item.shape, shape, strict=True)
    )
    if not fits or 0 in shape:
        raise DataError("wrong shape", where=where, expected=item.shape_text, found=str(list(shape)))
    same = dtype.newbyteorder("=") == item.dtype
    if not same and not (item.floating and np.issubdtype(dtype, np.floating)):
        fix = f"convert it with .astype({item.dtype.name!r}) when it is saved"
        raise DataError("wrong dtype", where=where, expected=item.dtype.name, found=str(dtype), fix=fix)


def fit(array: Array, item: SampleInput, where: str) -> Array:
    """The array as the input takes it: floats of another width are converted, nothing else is.

    Raises:
        DataError: As in ``check_kind``; or a value is NaN or infinite (also after conversion).
    """
    check_kind(array.shape, array.dtype, item, where)
    array = convert(array, item)
    if item.floating and not np.isfinite(array).all():
        raise DataError("values are NaN or infinite", where=where, found=first_bad(array))
    return array


def convert(array: Array, item: SampleInput) -> Array:
    """The array in the input's dtype and native byte order, contiguous; the rank is kept."""
    with np.errstate(over="ignore"):
        return np.require(array, item.dtype, "C")


def first_bad(array: Array) -> str:
    """The first value that is not finite and its index."""
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"{array[index]} at {list(index)}"
