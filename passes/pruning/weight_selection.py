"""Which layers the options of a pass leave alone, by their names."""

from __future__ import annotations

from fnmatch import fnmatchcase


def selection(name: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> str | None:
    """Why a node of that name is left alone by the globs; None if it is not."""
    if not any(fnmatchcase(name, glob) for glob in include):
        return "not matched by include"
    return "matched by exclude" if any(fnmatchcase(name, glob) for glob in exclude) else None
