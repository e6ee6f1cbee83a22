"""A bundle's own loader in this process, and ways to change a bundle."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tamis.compiler.bundle import MANIFEST
from tamis.compiler.loader.write_loader import LOADER

TARGET = {
    "machine": "host",
    "runtime": "onnxruntime",
    "options": {"threads": 1, "spinning": "never", "graph_optimization": "basic", "fuse_matmul_add": False},
}


def imported(folder: Path, name: str = "tamis_bundle") -> ModuleType:
    """The loader of a bundle, in this process."""
    spec = importlib.util.spec_from_file_location(name, folder / LOADER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def status(folder: Path, *arguments: str) -> int:
    """Exit status of ``tamis_bundle.py ARGUMENTS``, in this process."""
    module = imported(folder)
    found: int = module.main(arguments, module.HOME, lambda path: module.opened(path, module.SETTINGS), module.LINES)
    return found


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    edit(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def feeds() -> dict[str, Any]:
    """Inputs of the model."""
    return {"x": np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32), "at": np.array([2], np.int64)}
