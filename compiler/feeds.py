"""Inputs from the command line: ``FILE.npz``, ``NAME=FILE.npy``, ``NAME=IMAGE``, or seeded random ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.adversarial import random_feeds
from tamis.compiler.data.array_file import npz_headers, read_npy, read_npz
from tamis.compiler.data_source import read_image
from tamis.compiler.errors import DataError, UsageError
from tamis.compiler.recipe import InputSection
from tamis.compiler.registry import nearest
from tamis.compiler.resolve_inputs import resolve_inputs

if TYPE_CHECKING:
    from tamis.compiler.runnable import Runnable

SEED = 0


def read_feeds(specs: Sequence[str], inputs: Sequence[ir.Value]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that ``specs`` name.

    Args:
        specs: ``FILE.npz`` (all inputs by name), ``NAME=FILE.npy`` or ``NAME=IMAGE``; with a single input the name
            may be left out.
        inputs: The graph inputs that must be fed.

    Raises:
        DataError: A file cannot be read, an input is unknown or missing.
    """
    names = [str(v.name) for v in inputs]
    feeds: dict[str, np.ndarray[Any, Any]] = {}
    for spec in specs:
        name, _, file = spec.rpartition("=")
        path = Path(file)
        if path.suffix == ".npz":
            feeds |= _read_arrays(path)
            continue
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            raise DataError(
                f"the model has no input {name!r}{nearest(name, names)}",
                where=spec,
                expected=f"one of {', '.join(names)}",
            )
        value = next(v for v in inputs if v.name == name)
        feeds[name] = _read_arrays(path)[path.name] if path.suffix == ".npy" else read_image(path, value)
    unknown = [n for n in feeds if n not in names]
    if unknown:
        raise DataError(
            f"the model has no input {unknown[0]!r}{nearest(unknown[0], names)}", expected=f"one of {', '.join(names)}"
        )
    if missing := [n for n in names if n not in feeds]:
        raise DataError(f"input {missing[0]!r} is missing", fix=f"add -i {missing[0]}=FILE.npy")
    return feeds


def _read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if path.suffix == ".npy":
        return {path.name: read_npy(path)}
    return read_npz(path, npz_headers(path))


def feeds_for_both(
    first: Runnable, second: Runnable, specs: Sequence[str], shapes: Sequence[str]
) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs for two models: from ``specs``, or seeded random ones of the given ``shapes``.

    Raises:
        DataError: The models have different inputs.
    """
    names = [[str(v.name) for v in r.inputs] for r in (first, second)]
    if sorted(names[0]) != sorted(names[1]):
        raise DataError("the two models have different inputs", expected=", ".join(names[0]), found=", ".join(names[1]))
    if specs:
        return read_feeds(specs, first.inputs)
    sections = dict(read_shape(s) for s in shapes)
    spec = resolve_inputs(second.model, resolve_sections(first, sections), None)
    return dict(next(iter(random_feeds(spec, SEED, 1))))


def resolve_sections(runnable: Runnable, sections: dict[str, InputSection]) -> dict[str, InputSection]:
    """Fill in the shapes that ``runnable`` fixes, so that the other model may be dynamic."""
    for value in runnable.inputs:
        if str(value.name) not in sections and value.shape is not None and value.shape.is_static():
            sections[str(value.name)] = InputSection(shape=value.shape.numpy())
    return sections


def read_shape(text: str) -> tuple[str, InputSection]:
    """Name and shape of ``NAME=SIZE,SIZE,...``.

    Raises:
        UsageError: It is not of that form, or a size is below 1.
    """
    name, _, sizes = text.rpartition("=")
    try:
        return name, InputSection(shape=tuple(int(s) for s in sizes.split(",")))
    except ValueError as error:
        raise UsageError("not a shape", where=f"--shape {text}", expected="NAME=SIZE,SIZE,...") from error
