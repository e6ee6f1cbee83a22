"""The part of a bundle's own loader that opens a library of TVM; needs NumPy, ``tvm_ffi`` and ``libtvm_runtime.so``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tamis.targets.links.tvm_library import TvmLibrary


def opened(path: str, settings: Mapping[str, Any]) -> TvmLibrary:
    """The library at ``path``."""
    return TvmLibrary(path, settings)
