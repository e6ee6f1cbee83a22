"""Caches and physical cores of the machine at hand, from what the operating system publishes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tamis.compiler.machine_data import Caches

CPUS = Path("/sys/devices/system/cpu")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_MAC_KEYS = {
    "l1d": ("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"),
    "l2": ("hw.perflevel0.l2cachesize", "hw.l2cachesize"),
    "l3": ("hw.perflevel0.l3cachesize", "hw.l3cachesize"),
}


def caches(cpus: Sequence[int], root: Path = CPUS) -> Caches:
    """Caches that the logical ``cpus`` can use; sizes that the system does not publish are 0."""
    if sys.platform == "darwin" and root == CPUS:
        return _mac_caches()
    found: dict[str, dict[str, int]] = {"l1d": {}, "l2": {}, "l3": {}}
    for cpu in cpus:
        for index in sorted((root / f"cpu{cpu}" / "cache").glob("index*")):
            level, kind = _read(index / "level"), _read(index / "type")
            name = "l1d" if level == "1" and kind == "Data" else f"l{level}" if kind == "Unified" else ""
            if name in found:
                shared = _read(index / "shared_cpu_list")
                sharers = 1 if name == "l3" else max(1, cores(_cpu_list(shared), root))
                found[name][shared or str(cpu)] = _size(_read(index / "size")) // sharers
    largest = {name: max(sizes.values(), default=0) for name, sizes in found.items()}
    return Caches(l1d=largest["l1d"], l2=largest["l2"], l3=sum(found["l3"].values()))


def cores(cpus: Sequence[int], root: Path = CPUS) -> int:
    """Number of physical cores behind the logical ``cpus``; each counts as one if the system does not tell."""
    places = set()
    for cpu in cpus:
        topology = root / f"cpu{cpu}" / "topology"
        core = _read(topology / "core_id")
        places.add((_read(topology / "physical_package_id"), core) if core else ("", f"cpu{cpu}"))
    return len(places)


def _mac_caches() -> Caches:
    sizes = {name: next((s for key in keys if (s := _sysctl(key))), 0) for name, keys in _MAC_KEYS.items()}
    sharers = _sysctl("hw.perflevel0.cpusperl2") or 1
    return Caches(l1d=sizes["l1d"], l2=sizes["l2"] // sharers, l3=sizes["l3"])


def _sysctl(key: str) -> int:
    done = subprocess.run(["/usr/sbin/sysctl", "-n", key], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.stdout.strip().isdigit() else 0


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    return int(match[1]) * _UNITS[match[2]] if match else 0


def _cpu_list(text: str) -> list[int]:
    """``0-2,8`` -> 0, 1, 2, 8."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
