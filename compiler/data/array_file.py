"""Reading .npy and .npz files that may be damaged or hostile.

Format: numpy/lib/format (NEP 1). Pickles are refused. Sizes are compared with what the header claims before
memory is taken, and what a zip file claims to unpack to is limited.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from tamis.compiler.data.sample_input import Array
from tamis.compiler.errors import DataError
from tamis.compiler.limits import ARRAYS
from tamis.compiler.plain_file import is_file, what_is_at
from tamis.compiler.zip_file import DAMAGE, checked_members

BAD_HEADER = (SyntaxError, TypeError, tokenize.TokenError)
"""What NumPy's parser of headers raises on damaged ones, besides what ``zipfile`` raises."""


@dataclass(frozen=True)
class ArrayHeader:
    """Shape and dtype of a stored array, known before its values are read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        """Size of the values, bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def require_file(path: Path) -> None:
    """Raise ``DataError`` unless ``path`` is a file."""
    if not is_file(path):
        raise DataError("there is no such file", where=str(path), expected="a file", found=what_is_at(path))


def npy_header(path: Path) -> ArrayHeader:
    """The header of an .npy file. Raises ``DataError`` if it is damaged."""
    with _npy(path) as stream:
        return _header(stream, path.stat().st_size, str(path))


def read_npy(path: Path) -> Array:
    """The array in an .npy file. Raises ``DataError`` if it is damaged."""
    with _npy(path) as stream:
        return _array(stream, _header(stream, path.stat().st_size, str(path)), str(path))


def npz_headers(path: Path) -> dict[str, ArrayHeader]:
    """Name -> header of each array in an .npz file. Raises ``DataError`` if it is damaged or too large."""
    with _npz(path) as archive:
        return {name: _member_header(archive, info, path) for name, info in _members(archive, path).items()}


def read_npz(path: Path, names: Iterable[str]) -> dict[str, Array]:
    """The named arrays of an .npz file. Raises ``DataError`` if one is missing or damaged."""
    arrays = {}
    with _npz(path) as archive:
        members = _members(archive, path)
        for name in names:
            if name not in members:
                raise DataError(f"the array {name!r} is missing", where=str(path), found=", ".join(members))
            with archive.open(members[name]) as stream:
                place = _place(path, name)
                arrays[name] = _array(stream, _header(stream, members[name].file_size, place), place)
                if stream.read(1):
                    raise DataError("the array is longer than its header says", where=place)
    return arrays


@contextmanager
def _npy(path: Path) -> Iterator[IO[bytes]]:
    require_file(path)
    with _readable(path, ".npy"), path.open("rb") as stream:
        yield stream


@contextmanager
def _npz(path: Path) -> Iterator[zipfile.ZipFile]:
    require_file(path)
    with _readable(path, ".npz"), zipfile.ZipFile(path) as archive:
        yield archive


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise DataError(
            "does not fit into memory", where=str(path), fix="use a folder with one sample a file"
        ) from error
    except (*DAMAGE, *BAD_HEADER) as error:
        text = str(error) or type(error).__name__
        raise DataError(f"cannot be read as an {kind} file", where=str(path), found=text) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    infos = checked_members(archive, ARRAYS, str(path), DataError)
    return {info.filename.removesuffix(".npy"): info for info in infos}


def _member_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> ArrayHeader:
    with archive.open(info) as stream:
        return _header(stream, info.file_size, _place(path, info.filename.removesuffix(".npy")))


def _place(path: Path, name: str) -> str:
    return f"{path}, array {name}"


def _header(stream: IO[bytes], size: int, where: str) -> ArrayHeader:
    """Read the header and hold it against the ``size`` of the file that it stands in, bytes."""
    version = npy_format.read_magic(stream)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    if version not in readers:
        raise DataError("this version of the .npy format is not supported", where=where, found=str(version))
    shape, fortran_order, dtype = readers[version](stream)
    if dtype.hasobject:
        fix = "save plain numbers; pickled objects are refused because loading them can run code"
        raise DataError("this array holds Python objects", where=where, expected="numbers", fix=fix)
    header = ArrayHeader(shape, dtype, fortran_order)
    if min(shape, default=0) < 0 or header.nbytes != size - stream.tell():
        raise DataError(
            "the file is truncated or damaged",
            where=where,
            expected=f"{header.nbytes} bytes for shape {list(shape)} of {dtype}",
            found=f"{size - stream.tell()} bytes",
        )
    return header


def _array(stream: IO[bytes], header: ArrayHeader, where: str) -> Array:
    data = stream.read(header.nbytes)
    if len(data) != header.nbytes:
        raise DataError("the file is truncated", where=where, expected=f"{header.nbytes} bytes", found=str(len(data)))
    flat = np.frombuffer(data, header.dtype) if data else np.empty(0, header.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")
