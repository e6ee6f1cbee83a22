"""The face of all samples, whatever they come from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tamis.compiler.data.sample_input import Array, first_bad
from tamis.compiler.errors import DataError
from tamis.compiler.plain_file import what_is_at


class Samples(ABC):
    """Samples that fit a model's inputs, read while they are iterated over.

    Iterating gives one dict of arrays a sample (input name -> array of exactly the input's rank and dtype),
    each time from the start.
    """

    labelled: bool = False
    """True if ``labels`` has an answer."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples; at least 1."""

    @abstractmethod
    def __iter__(self) -> Iterator[dict[str, Array]]:
        """The feeds, in a fixed order. Raises ``DataError`` for one that does not fit the inputs."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256, hexadecimal, of the bytes of all files that samples and labels come from."""

    def labels(self, index: int) -> Array:
        """The labels of sample ``index``.

        Raises:
            DataError: The samples have no labels.
        """
        raise DataError("these samples have no labels", fix="add an array called 'labels', or use csv: FILE")


def files_digest(paths: Sequence[Path]) -> str:
    """SHA-256 of one file; of several files, that of the lines ``digest  name`` in the given order.

    Raises:
        DataError: A file cannot be read.
    """
    digests = []
    for path in paths:
        try:
            with path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{digest}  {path.name}\n" for digest, path in zip(digests, paths, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_files(folder: Path, suffixes: Sequence[str], limit: int | None) -> list[Path]:
    """The files of a folder with one of the suffixes, sorted by name, at most ``limit``.

    Raises:
        DataError: Not a folder, or no such files in it.
    """
    if (found := what_is_at(folder)) != "a folder":
        raise DataError("there is no such folder", where=str(folder), expected="a folder", found=found)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise DataError(
            "the folder holds no samples", where=str(folder), expected="files ending in " + ", ".join(suffixes)
        )
    return paths[:limit]


def checked_labels(labels: Array, where: str) -> Array:
    """The labels, if they are finite numbers.

    Raises:
        DataError: They are not.
    """
    if labels.dtype.kind not in "biuf":
        raise DataError("labels must be numbers", where=f"{where}, labels", found=str(labels.dtype))
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError("labels are NaN or infinite", where=f"{where}, labels", found=first_bad(labels))
    return labels
