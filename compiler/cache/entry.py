"""An entry of the cache: what one key gives, as data and as names of blobs; its text is checked when it is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from pydantic import JsonValue

from tamis.compiler.manifest import FileRecord

FORMAT = 1
MAX_BYTES = 8 << 20
"""Largest text of an entry, bytes."""
MAX_FILES = 10_000
MAX_BLOB = 1 << 50
"""Largest blob, bytes."""
MAX_PART = 255
"""Longest part of a name, bytes."""
SHA256 = re.compile(r"[0-9a-f]{64}")


class EntryError(ValueError):
    """The text of an entry is damaged, too large, or names what it must not."""


class BlobLostError(LookupError):
    """A blob is not there (any more), or was found damaged and removed: build it again."""


@dataclass(frozen=True)
class Entry:
    """What one key gives.

    Args:
        key: SHA-256, hexadecimal, of all that the result depends on.
        kind: What was built: ``step``, ``bundle`` ...
        data: Small JSON data. A text ``label`` in it is what ``tamis cache ls`` shows.
        files: Name -> digest and size in bytes. Names are relative, with ``/`` between their parts.
    """

    key: str
    kind: str
    data: Mapping[str, JsonValue]
    files: Mapping[str, FileRecord]

    @property
    def bytes(self) -> int:
        """Size of its files, each blob once."""
        return sum(record.bytes for record in set(self.files.values()))


def check_digest(text: object) -> str:
    """``text``, if it is a SHA-256 in hexadecimal.

    Raises:
        EntryError: It is anything else.
    """
    if not isinstance(text, str) or not SHA256.fullmatch(text):
        raise EntryError(f"not a SHA-256 in hexadecimal: {str(text)[:80]!r}")
    return text


def check_name(name: object) -> str:
    """``name``, if it is a relative path that stays inside its folder, on every system.

    Raises:
        EntryError: It is anything else.
    """
    if not isinstance(name, str) or not 0 < len(name) <= 1000 or name != str(PurePosixPath(name)):
        raise EntryError(f"not a name of a file: {str(name)[:80]!r}")
    windows = PureWindowsPath(name)
    outside = name == "." or ".." in windows.parts or bool(windows.anchor) or name.startswith("/")
    if outside or "\\" in name or any(ord(c) < 32 for c in name):
        raise EntryError(f"a name outside its own folder: {name[:80]!r}")
    if not all(map(_can_be, windows.parts)):
        raise EntryError(f"a name that no file can have: {name[:80]!r}")
    return name


def _can_be(part: str) -> bool:
    try:
        return len(part.encode()) <= MAX_PART
    except UnicodeEncodeError:
        return False


def dump(entry: Entry) -> bytes:
    """The text of an entry, which carries its own digest.

    Raises:
        EntryError: The key, a name or a record is not one.
    """
    check_digest(entry.key)
    for name, record in entry.files.items():
        check_name(name)
        check_digest(record.sha256)
    body = {
        "format": FORMAT,
        "key": entry.key,
        "kind": entry.kind,
        "data": dict(entry.data),
        "files": {name: record.model_dump() for name, record in entry.files.items()},
    }
    return json.dumps({**body, "sha256": _digest(body)}, sort_keys=True).encode()


def parse(text: bytes, key: str) -> Entry:
    """The entry that ``dump`` wrote.

    Args:
        text: At most ``MAX_BYTES``.
        key: Which entry it must be.

    Raises:
        EntryError: Anything is wrong with it.
    """
    if len(text) > MAX_BYTES:
        raise EntryError(f"larger than {MAX_BYTES} bytes")
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or body.pop("sha256", None) != _digest(body):
            raise EntryError("its digest differs")
    except (ValueError, RecursionError) as error:
        raise EntryError(f"damaged: {error}") from error
    if (body.get("format"), body.get("key")) != (FORMAT, key):
        raise EntryError("of another format or key")
    kind, data, files = (body.get(name) for name in ("kind", "data", "files"))
    if not isinstance(kind, str) or not isinstance(data, dict) or not isinstance(files, dict) or len(files) > MAX_FILES:
        raise EntryError("incomplete")
    if any(str(folder) in files for name in files for folder in PurePosixPath(name).parents):
        raise EntryError("a file is the folder of another")
    return Entry(key, kind, data, {check_name(name): _record(record) for name, record in files.items()})


def _record(record: Any) -> FileRecord:
    size = record.get("bytes") if isinstance(record, dict) else None
    if type(size) is not int or not 0 <= size <= MAX_BLOB:
        raise EntryError("a file without its size")
    return FileRecord(sha256=check_digest(record.get("sha256")), bytes=size)


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
