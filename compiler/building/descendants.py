"""What a process has started, and what those have started, in whatever session or group they run (Linux, ``/proc``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")
STOPPED = "T"


def running_below(roots: Iterable[int]) -> list[int]:
    """Process ids of all descendants of ``roots``, without those that stand still already."""
    children: dict[int, list[tuple[int, str]]] = {}
    for pid, parent, state in _processes():
        children.setdefault(parent, []).append((pid, state))
    found: list[int] = []
    left = list(roots)
    while left:
        for pid, state in children.get(left.pop(), ()):
            left.append(pid)
            if state != STOPPED:
                found.append(pid)
    return found


def _processes() -> Iterator[tuple[int, int, str]]:
    """Id, parent and state of every process."""
    for folder in PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        yield int(folder.name), int(fields[1]), fields[0]
