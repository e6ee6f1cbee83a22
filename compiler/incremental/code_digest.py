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
    """SHA-256, hexadecimal, of the sources of tamis and of the packages behind its entry points."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        digest.update(f"{package} {_sources(Path(str(files(package))))}\n".encode())
    for line in plugins():
        digest.update(line.encode())
    return digest.hexdigest()


def plugins() -> list[str]:
    """Each plug-in in one line: what it provides, its distribution with version, and the digest of its package."""
    found = []
    for kind in sorted(TABLE):
        for point in entry_points(group=f"tamis.{kind}"):
            version = f"{point.dist.name} {point.dist.version}" if point.dist else "no distribution"
            found.append(f"{kind} {point.name} {point.value} {version} {_package(point.module.partition('.')[0])}\n")
    return sorted(found)


@cache
def _package(name: str) -> str:
    """Digest of the sources of a top-level package or module, which is not imported for it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    places = [] if spec is None else list(spec.submodule_search_locations or filter(None, [spec.origin]))
    return " ".join(_sources(Path(place)) for place in places) or "no source"


def _sources(place: Path) -> str:
    """SHA-256, hexadecimal, of a file, or of all sources in a folder with their names."""
    digest = hashlib.sha256()
    inside = sorted(p for p in place.rglob("*") if p.suffix in SUFFIXES) if place.is_dir() else [place]
    for path in inside:
        if path.is_file():
            digest.update(f"{path.relative_to(place).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
