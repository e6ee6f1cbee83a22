"""Zip files that may be damaged or hostile."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import PurePosixPath, PureWindowsPath

from tamis.compiler.errors import UsageError
from tamis.compiler.limits import Limit

MAX_MEMBERS = 10_000
DAMAGE = (
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What ``zipfile`` raises on damaged, encrypted or unusual files."""


def checked_members(
    archive: zipfile.ZipFile, limit: Limit, where: str, refusal: type[UsageError]
) -> list[zipfile.ZipInfo]:
    """The members of an archive; no more is ever unpacked than the sizes that are checked here.

    Args:
        archive: Open for reading.
        limit: Of all members together when unpacked.
        where: The archive, for messages.
        refusal: Class of the errors.

    Raises:
        UsageError: Of the class ``refusal``: too many or too large members, or two of the same name.
    """
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise refusal("holds too many files", where=where, expected=f"at most {MAX_MEMBERS}", found=str(len(infos)))
    total = sum(info.file_size for info in infos)
    if total > limit.most:
        raise refusal(
            "the file is too large",
            where=where,
            expected=f"at most {limit.most} bytes when unpacked",
            found=f"{total} bytes",
            fix=limit.fix,
        )
    names: set[str] = set()
    for info in infos:
        if not info.filename or info.filename in names:
            raise refusal(
                "holds two files of the same name, or one without", where=where, found=repr(info.filename[:100])
            )
        names.add(info.filename)
    return infos


def stays_inside(name: str) -> bool:
    """Whether a relative name leads to nothing outside its folder, on every system."""
    windows = PureWindowsPath(name)
    outside = ".." in (*windows.parts, *PurePosixPath(name).parts) or bool(windows.anchor) or "\\" in name
    return not outside and "\0" not in name and not name.startswith("/")
