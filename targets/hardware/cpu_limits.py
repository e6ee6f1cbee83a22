"""How many hardware threads this process may use: its affinity, and the CPU quota of its container."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")


def usable_cpus() -> tuple[int, ...]:
    """Numbers of the logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def usable_threads(root: Path = ROOT) -> int:
    """Threads that can run at once; a quota of 2.5 CPUs counts as 2, since a third thread would be throttled."""
    quota = cpu_quota(root)
    return len(usable_cpus()) if quota is None else max(1, min(len(usable_cpus()), int(quota)))


def cpu_quota(root: Path = ROOT) -> float | None:
    """The tightest CPU limit of the control groups of this process, in CPUs; None without one.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for group in _upwards(path):
            if controllers == "":
                limits.append(_quota(_read(root / "sys/fs/cgroup" / group / "cpu.max").split()))
            elif "cpu" in controllers.split(","):
                folder = root / "sys/fs/cgroup" / controllers / group
                folder = folder if folder.is_dir() else root / "sys/fs/cgroup/cpu" / group
                limits.append(_quota([_read(folder / f"cpu.cfs_{n}_us").strip() for n in ("quota", "period")]))
    found = [limit for limit in limits if limit is not None]
    return min(found) if found else None


def _upwards(path: str) -> list[str]:
    """``/a/b`` -> a/b, a, the root; a limit of a parent binds its children."""
    parts = [p for p in path.split("/") if p not in ("", "..")]
    return ["/".join(parts[:n]) for n in range(len(parts), -1, -1)]


def _quota(fields: list[str]) -> float | None:
    if len(fields) != 2 or not all(f.lstrip("-").isdigit() for f in fields):
        return None
    quota, period = map(int, fields)
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
