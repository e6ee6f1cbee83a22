"""Versions of everything that can change the bytes of a bundle."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "onnxsim", "scipy")


@cache
def versions() -> dict[str, str]:
    """Package -> version, with Python's own; absent packages are left out."""
    from tamis import __version__

    found = {"tamis": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
