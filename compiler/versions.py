"""Versions of what can change the bytes of a bundle."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "onnxsim", "scipy")
TOOLS = re.compile(r"""extra == ["']dev["']""")
"""Requirements that only those who work on tamis have."""


@cache
def versions() -> dict[str, str]:
    """Package -> version, with Python's own; absent packages are left out."""
    from tamis import __version__

    return {"tamis": __version__, "python": platform.python_version(), **_installed(PACKAGES)}


@cache
def all_versions() -> dict[str, str]:
    """As ``versions``, with everything that tamis may use in any target: what its distribution and its extras require."""
    try:
        required = requires("tamis") or []
    except PackageNotFoundError:
        required = []
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in required if not TOOLS.search(line)]
    return versions() | _installed(sorted(names))


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
