"""Files that a user, or a file from elsewhere, has named."""

from __future__ import annotations

import stat
from pathlib import Path

from tamis.compiler.limits import Limit


def what_is_at(path: Path) -> str:
    """``a file``, ``a folder``, ``something else`` or ``nothing``; the last also for names that no file can have."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "nothing"
    return "a file" if stat.S_ISREG(mode) else "a folder" if stat.S_ISDIR(mode) else "something else"


def is_file(path: Path) -> bool:
    """Whether there is a file at ``path``; no error for names that no file can have."""
    return what_is_at(path) == "a file"


def limited_text(path: Path, limit: Limit) -> str:
    """A text file of limited size.

    Raises:
        OSError, ValueError: It cannot be read, is not UTF-8, or is too large.
    """
    if what_is_at(path) in ("a folder", "something else"):
        raise OSError("not a file")
    with path.open("rb") as stream:
        data = stream.read(limit.most + 1)
    if len(data) > limit.most:
        raise ValueError(f"more than {limit.most} bytes; {limit.fix}")
    return data.decode()
