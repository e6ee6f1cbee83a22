"""Files of arrays, good and bad, for the tests of samples."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir


def value(name: str, shape: tuple[int | str | None, ...], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    """A graph input."""
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def ramp(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """0, 1, 2, ... in a shape."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def npy_bytes(shape: object, descr: str, data: bytes, version: bytes = b"\x01\x00") -> bytes:
    """An .npy file that says what it likes about its data."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def npz_of(path: Path, **members: bytes) -> Path:
    """A zip file of raw members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path
