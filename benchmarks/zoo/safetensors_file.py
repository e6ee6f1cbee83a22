"""Read a ``.safetensors`` file: 8 bytes header length, a JSON header, then the raw little-endian tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Name -> array, in the order of the header."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    arrays: dict[str, NDArray[Any]] = {}
    for name, facts in header.items():
        start, end = (8 + size + offset for offset in facts["data_offsets"])
        arrays[name] = np.frombuffer(raw[start:end], DTYPES[facts["dtype"]]).reshape(facts["shape"])
    return arrays
