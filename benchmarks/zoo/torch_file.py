"""Read the tensors of a PyTorch ``.pth`` state dict without PyTorch and without running code from the file.

Both layouts hold pickles that rebuild tensors on top of storages. The unpickler here knows the five names a
state dict needs and refuses every other, so that a file cannot call anything.

- Old layout: pickles (magic number, protocol, machine, tensors, storage keys), then for each key an
  int64 count and the raw little-endian data.
- New layout: a zip with ``*/data.pkl`` and one member ``*/data/KEY`` per storage.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8"), "HalfStorage": np.dtype("<f2")}

Tensor = Callable[[], NDArray[Any]]  # read later: the old layout has its data behind the pickles


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a state dict, in the order of the file.

    Raises:
        pickle.UnpicklingError: The file is not a plain state dict.
    """
    storages: dict[str, NDArray[Any]] = {}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("data.pkl")
            loader = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")), storages)
            tensors = loader.load()
            for key, dtype in loader.dtypes.items():
                storages[key] = np.frombuffer(archive.read(f"{root}data/{key}"), dtype)
    else:
        with path.open("rb") as stream:
            header = [_Unpickler(stream, {}).load() for _ in range(3)]
            if header[:2] != [MAGIC, PROTOCOL] or not header[2].get("little_endian"):
                raise pickle.UnpicklingError(f"{path.name} is not a little-endian PyTorch file")
            loader = _Unpickler(stream, storages)
            tensors = loader.load()
            for key in _Unpickler(stream, {}).load():
                count = int(np.frombuffer(stream.read(8), "<i8")[0])
                dtype = loader.dtypes[key]
                storages[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    return {name: tensor() for name, tensor in tensors.items()}


class _Unpickler(pickle.Unpickler):
    """Knows a state dict's names only; storages are looked up by key once they are read."""

    def __init__(self, stream: BinaryIO, storages: dict[str, NDArray[Any]]) -> None:
        super().__init__(stream)
        self.storages = storages
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"refusing {module}.{name}: it is not part of a plain state dict")

    def persistent_load(self, pid: Any) -> str:
        kind, dtype, key = pid[:3]
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown object {kind!r}")
        self.dtypes[key] = dtype
        return str(key)

    def _tensor(self, key: str, start: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Tensor:
        def read() -> NDArray[Any]:
            data = self.storages[key][start:]
            steps = [s * data.itemsize for s in strides]
            if sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) >= data.size:
                raise pickle.UnpicklingError(f"a tensor of shape {shape} is larger than its storage")
            return np.ascontiguousarray(np.lib.stride_tricks.as_strided(data, shape, steps))

        return read
