"""Runs a library as ``CudaLibrary`` does, with the CPU as the device: ``cuda_on_cpu.py LIBRARY SETTINGS FEEDS OUTPUTS``.

Inputs and outputs take the way through copies to the device and back. ``FEEDS`` and ``OUTPUTS`` are .npz files; the last
of two calls is written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tamis.targets.links import cuda_library
from tamis.targets.links.tvm_library import CPU, TvmLibrary


class OnCpu(cuda_library.CudaLibrary):
    """The device is the CPU, which needs no driver."""

    device = CPU

    def _start(self, path: Path, threads: int) -> Any:
        return TvmLibrary._start(self, path, threads)


def main(library: str, settings: str, feeds: str, outputs: str) -> None:
    """Run twice, the first time on other values."""
    with patch.object(cuda_library, "CPU", -1):
        model = OnCpu(library, json.loads(settings))
        given = dict(np.load(feeds))
        model({name: np.ones_like(array) for name, array in given.items()})
        found = model(given)
    np.savez(outputs, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
