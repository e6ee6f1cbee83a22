"""How a file of a case is laid out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Maker = Callable[[Path], None]
CORPUS = Path(__file__).with_name("corpus")
HUGE = 10**12
LONG = "x" * 500
"""No file can have this name."""


def write(name: str, data: bytes, folder: Path) -> None:
    (folder / name).write_bytes(data)


def fifo(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
