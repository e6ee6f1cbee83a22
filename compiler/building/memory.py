"""How much memory compiles may take together, and how much one may need."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

BASE = 300 << 20
"""Bytes of a compile of a tiny model: the interpreter with a runtime loaded, and room to work in."""
COPIES = 8
"""How many times the bytes of the model are held at once: as given, as it is, a copy to try a step on, sessions of both
that have packed the weights once more."""
SHARE = 0.8
"""Of the memory that is free when a build starts."""


def estimated(model: Path) -> int:
    """Bytes that compiling ``model`` may need, from the size of its file and of what lies beside it as external data."""
    return BASE + COPIES * sum(size(path) for path in (model, *model.parent.glob(f"{_escaped(model.stem)}*data")))


def size(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def limit() -> int:
    """Bytes that a build may take now: a share of what the machine, and the control group, have left."""
    return int(SHARE * min(_free(), _group_left()))


def _free() -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 << 62


def _group_left() -> int:
    """What the container's limit leaves, control groups version 2."""
    folder = Path("/sys/fs/cgroup")
    try:
        most = int((folder / "memory.max").read_text(encoding="ascii"))
        return max(0, most - int((folder / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return 1 << 62


def _escaped(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
