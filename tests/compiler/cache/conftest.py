"""A store in an empty folder, and warnings that are said anew in each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.compiler.cache import complain
from tamis.compiler.cache.store import Store


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complain, "_said", set())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def key(number: int) -> str:
    """A key of one's own."""
    return f"{number:064x}"


def files(folder: Path, before: str = "") -> list[str]:
    """All files below a folder, each with ``before`` in front of it."""
    return sorted(before + p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
