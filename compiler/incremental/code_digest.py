"""One digest of all code that can change what a compile gives: that of tamis, of its data, and of installed plug-ins."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from tamis.compiler.registry import TABLE

SUFFIXES = (".py", ".yaml")
PACKAGES = ("tamis.compiler", "tamis.passes", "tamis.targets", "tamis.recipes")


@cache
def code_digest() -> str:
    """SHA-256, hexadecimal, of the sources of tamis and of the modules behind its entry points."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        root = Path(str(files(package)))
        for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
            digest.update(f"{package} {path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    for line in plugins():
        digest.update(line.encode())
    return digest.hexdigest()


def plugins() -> list[str]:
    """Each plug-in in one line: what it provides, its distribution with version, and the digest of its module."""
    found = []
    for kind in sorted(TABLE):
        for point in entry_points(group=f"tamis.{kind}"):
            spec = importlib.util.find_spec(point.module)
            source = Path(spec.origin) if spec and spec.origin else None
            content = hashlib.sha256(source.read_bytes()).hexdigest() if source and source.is_file() else "no source"
            version = f"{point.dist.name} {point.dist.version}" if point.dist else "no distribution"
            found.append(f"{kind} {point.name} {point.value} {version} {content}\n")
    return sorted(found)
