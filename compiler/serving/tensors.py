"""Tensors of the Open Inference Protocol v2: as JSON and as bytes.

Bytes are little-endian and row-major; each element of BYTES has its length before it, four bytes.

References: https://github.com/kserve/open-inference-protocol (Tensor Data);
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from tamis.compiler.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

NAMES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
"""NumPy's name of an element type -> the protocol's."""
DTYPES = {name: np.dtype(numpy).newbyteorder("<") for numpy, name in NAMES.items()}
TEXT = "BYTES"
JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
"""Kind of an element type -> what its values may be in JSON."""
LARGEST_DIMENSION = 2**31 - 1
MOST_DIMENSIONS = 32
MOST_ELEMENTS = 2**40
"""Of a shape, empty dimensions aside: NumPy refuses what it cannot address, even without elements."""


def datatype_of(dtype: np.dtype[Any] | str, where: str) -> str:
    """The protocol's name of an element type; texts are ``BYTES``.

    Raises:
        DataError: The protocol has no such type.
    """
    name = dtype if isinstance(dtype, str) else dtype.name
    if name in NAMES:
        return NAMES[name]
    if name in {"string", "object"} or name.startswith(("str", "bytes")):
        return TEXT
    raise DataError("the protocol has no such element type", where=where, expected=", ".join(NAMES), found=name)


def checked_shape(shape: object, where: str) -> tuple[int, ...]:
    """The shape that a request states.

    Raises:
        DataError: It is not a list of sizes.
    """
    if not isinstance(shape, list) or not all(type(d) is int and 0 <= d <= LARGEST_DIMENSION for d in shape):
        raise DataError("wrong shape", where=where, expected="a list of whole numbers from 0", found=f"{shape!r:.100}")
    if len(shape) > MOST_DIMENSIONS or math.prod(d or 1 for d in shape) > MOST_ELEMENTS:
        raise DataError(
            "the shape is too large",
            where=where,
            expected=f"at most {MOST_DIMENSIONS} dimensions and {MOST_ELEMENTS} elements",
            found=f"{shape!r:.100}",
        )
    return tuple(shape)


def from_json(data: object, datatype: str, shape: tuple[int, ...], where: str) -> Array:
    """An array of JSON values, nested as the shape or flat in row-major order.

    Raises:
        DataError: Values of another type, out of its range, or not as many as the shape says.
    """
    if not isinstance(data, list):
        raise DataError("wrong data", where=where, expected="a list", found=type(data).__name__)
    array = np.array(data, dtype=object)  # of any other type each element would be as wide as the longest text
    if array.ndim > MOST_DIMENSIONS:
        raise _miscounted(shape, f"{array.ndim} levels of lists", where)
    found = set(map(type, array.flat))
    if list in found:
        raise DataError("wrong data", where=where, expected="lists of equal lengths", found="others")
    if found - ({str} if datatype == TEXT else JSON_TYPES[DTYPES[datatype].kind]):
        raise DataError("wrong data", where=where, expected=f"values of {datatype}", found="other values")
    if array.shape not in {shape, (math.prod(shape),)}:
        raise _miscounted(shape, str(list(array.shape)), where)
    if datatype != TEXT:
        array = _numbers(array, datatype, where)
    return array.reshape(shape)


def _numbers(array: Array, datatype: str, where: str) -> Array:
    dtype = DTYPES[datatype].newbyteorder("=")
    fits = True
    if dtype.kind in "iu" and array.size:
        bounds = np.iinfo(dtype)
        fits = bounds.min <= min(array.flat) and max(array.flat) <= bounds.max
    try:
        with np.errstate(over="ignore"):
            made = array.astype(dtype) if fits else array
        fits = fits and (dtype.kind != "f" or bool(np.isfinite(made).all()))
    except OverflowError:
        fits = False
    if not fits:
        raise DataError("wrong data", where=where, expected=f"values of {datatype}", found="one out of its range")
    return made


def from_bytes(data: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Array:
    """An array of its bytes.

    Raises:
        DataError: Not as many bytes as the shape says, or texts that are not UTF-8.
    """
    count = math.prod(shape)
    if datatype == TEXT:
        texts = _split(data, where)
        if len(texts) != count:
            raise _miscounted(shape, f"{len(texts)} texts", where)
        array = np.empty(count, object)
        array[:] = texts
        return array.reshape(shape)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise _miscounted(shape, f"{len(data)} bytes", where)
    if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise DataError("wrong data", where=where, expected="bytes 0 and 1", found="others")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _split(data: memoryview, where: str) -> list[str]:
    texts, at = [], 0
    try:
        while at < len(data):
            (size,) = struct.unpack_from("<I", data, at)
            at += 4 + size
            if at > len(data):
                raise ValueError("a text is longer than the data")
            texts.append(bytes(data[at - size : at]).decode())
    except (ValueError, struct.error) as error:
        expected = "UTF-8 texts, each with its length before it"
        raise DataError("wrong data", where=where, expected=expected, found=str(error)) from error
    return texts


def to_json(array: Array, where: str) -> list[Any]:
    """The values in row-major order.

    Raises:
        DataError: There is a NaN or an infinity, which JSON cannot carry.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(
            "holds NaN or infinity, which JSON cannot carry", where=where, fix="ask for it with binary_data: true"
        )
    flat: list[Any] = array.ravel().tolist()
    return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in flat]


def to_bytes(array: Array) -> bytes:
    """The bytes of an array, see ``from_bytes``."""
    if array.dtype.kind not in "UOS":
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    encoded = [v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist()]
    return b"".join(struct.pack("<I", len(v)) + v for v in encoded)


def _miscounted(shape: tuple[int, ...], found: str, where: str) -> DataError:
    return DataError("data and shape disagree", where=where, expected=f"data for {list(shape)}", found=found)
