"""Runs Python where tamis is not installed: no site-packages, but links to the few packages that a bundle needs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

NAMES = ("numpy", "onnxruntime", "tvm", "tvm_ffi", "typing_extensions")
SECONDS = 120.0


def package_folder(folder: Path) -> Path:
    """A new folder with links to those packages, and to the libraries that lie beside NumPy."""
    folder.mkdir()
    for name in NAMES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, f"{name} is not installed"
        path = Path(spec.submodule_search_locations[0] if spec.submodule_search_locations else spec.origin)
        for found in (path, path.with_name(f"{name}.libs")):
            if found.exists():
                (folder / found.name).symlink_to(found)
    return folder


def run_isolated(packages: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python ARGUMENTS``, with nothing to import but the standard library and ``packages``."""
    return subprocess.run(
        [sys.executable, "-S", *map(str, arguments)],
        env={"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


COMPUTE = """
import importlib.util, sys
import numpy as np
from tamis_bundle import load
assert importlib.util.find_spec("tamis") is None
assert importlib.util.find_spec("onnx") is None
np.savez(sys.argv[2], **load()(dict(np.load(sys.argv[1]))))
"""
"""Run in a bundle's folder: INPUTS.npz OUTPUTS.npz."""
