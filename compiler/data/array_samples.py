"""Samples from .npz and .npy files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tamis.compiler.data.array_file import ArrayHeader, npy_header, npz_headers, read_npy, read_npz, require_file
from tamis.compiler.data.sample_input import Array, SampleInput, check_kind, check_names, convert, first_bad, fit
from tamis.compiler.data.samples import Samples, checked_labels, files_digest, folder_files
from tamis.compiler.errors import DataError

LABELS = "labels"


class NpzSamples(Samples):
    """One .npz file: an array for each input, named as the input, samples along axis 0.

    An array of the input's rank gives sample i as ``a[i:i+1]``, one of a rank more as ``a[i]``. The array
    ``labels`` is optional. The arrays are read at once and checked before anything else is done.

    Raises:
        DataError: The file is damaged or does not fit the inputs.
    """

    def __init__(self, path: Path, inputs: Sequence[SampleInput], limit: int | None) -> None:
        require_file(path)
        self._path = path
        headers = npz_headers(path)
        self.labelled = _has_labels(headers, inputs)
        check_names([name for name in headers if name != LABELS or not self.labelled], inputs, str(path))
        count = _common_length(headers, str(path))
        for item in inputs:
            check_kind(_sample_shape(headers[item.name], item, path), headers[item.name].dtype, item, _at(path, item))
        self._length = min(count, limit or count)
        arrays = read_npz(path, headers)
        self._ranks = {item.name: len(item.shape) for item in inputs}
        self._arrays = {item.name: self._values(arrays[item.name], item) for item in inputs}
        self._labels = checked_labels(arrays[LABELS], str(path)) if self.labelled else None

    def _values(self, array: Array, item: SampleInput) -> Array:
        array = convert(array[: self._length], item)
        if item.floating and not np.isfinite(array).all():
            raise DataError("values are NaN or infinite", where=_at(self._path, item), found=first_bad(array))
        return array

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for i in range(self._length):
            yield {
                name: array[i : i + 1] if array.ndim == self._ranks[name] else np.asarray(array[i])
                for name, array in self._arrays.items()
            }

    def labels(self, index: int) -> Array:
        return super().labels(index) if self._labels is None else np.asarray(self._labels[index])

    def digest(self) -> str:
        return files_digest([self._path])


class FolderSamples(Samples):
    """A folder with one file a sample, sorted by name, read one at a time.

    ``*.npz`` hold the inputs exactly as they are fed, and optionally ``labels``. ``*.npy`` are for models with
    one input; the first dimension may be left out if it is a batch of one.

    Raises:
        DataError: The folder is empty or mixed, or a file does not fit the inputs (by its header).
    """

    def __init__(self, folder: Path, inputs: Sequence[SampleInput], limit: int | None) -> None:
        self._inputs = inputs
        self._paths = folder_files(folder, (".npz", ".npy"), limit)
        suffixes = {path.suffix.lower() for path in self._paths}
        self._npz = suffixes == {".npz"}
        if len(suffixes) > 1:
            raise DataError("the folder holds both .npz and .npy files", where=str(folder), fix="keep one kind")
        if not self._npz and len(inputs) != 1:
            names = ", ".join(item.name for item in inputs)
            fix = "save an .npz file a sample"
            raise DataError(
                ".npy files hold one input only", where=str(folder), expected=f"arrays for {names}", fix=fix
            )
        for path in self._paths:
            self._check(path)

    def _check(self, path: Path) -> None:
        headers = npz_headers(path) if self._npz else {self._inputs[0].name: npy_header(path)}
        labelled = _has_labels(headers, self._inputs)
        if path != self._paths[0] and labelled != self.labelled:
            raise DataError("some samples have labels and some have not", where=str(path), fix="give all or none")
        self.labelled = labelled
        check_names([name for name in headers if name != LABELS or not labelled], self._inputs, str(path))
        for item in self._inputs:
            shape = headers[item.name].shape
            check_kind(
                shape if self._npz else _with_batch(shape, item), headers[item.name].dtype, item, _at(path, item)
            )

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for path in self._paths:
            if self._npz:
                arrays = read_npz(path, [item.name for item in self._inputs])
            else:
                array = read_npy(path)
                arrays = {self._inputs[0].name: array.reshape(_with_batch(array.shape, self._inputs[0]))}
            yield {item.name: fit(arrays[item.name], item, _at(path, item)) for item in self._inputs}

    def labels(self, index: int) -> Array:
        if not self.labelled:
            return super().labels(index)
        path = self._paths[index]
        return checked_labels(read_npz(path, [LABELS])[LABELS], str(path))

    def digest(self) -> str:
        return files_digest(self._paths)


def _at(path: Path, item: SampleInput) -> str:
    return f"{path}, input {item.name}"


def _has_labels(headers: Mapping[str, ArrayHeader], inputs: Sequence[SampleInput]) -> bool:
    return LABELS in headers and all(item.name != LABELS for item in inputs)


def _common_length(headers: Mapping[str, ArrayHeader], where: str) -> int:
    lengths = {name: header.shape[0] if header.shape else None for name, header in headers.items()}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{name}: {'a single value' if n is None else n}" for name, n in lengths.items())
        raise DataError("the arrays have different numbers of samples", where=where, found=found)
    [count] = set(lengths.values())
    if not count:
        raise DataError("there are no samples", where=where, expected="samples along axis 0", found=f"length {count}")
    return count


def _sample_shape(header: ArrayHeader, item: SampleInput, path: Path) -> tuple[int, ...]:
    if len(header.shape) not in (len(item.shape), len(item.shape) + 1):
        expected = f"{item.shape_text} with samples along axis 0, or a dimension more"
        raise DataError("wrong rank", where=_at(path, item), expected=expected, found=str(list(header.shape)))
    return (1, *header.shape[1:]) if len(header.shape) == len(item.shape) else header.shape[1:]


def _with_batch(shape: tuple[int, ...], item: SampleInput) -> tuple[int, ...]:
    return (1, *shape) if len(shape) == len(item.shape) - 1 else shape
