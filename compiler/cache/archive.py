"""The cache, or some of its entries, as one tar file that another machine can import.

The files in it lie as in the store, each blob before the first entry that names it. Nothing is ever extracted: names must
fit the layout exactly, and contents are checked while they are copied into the store.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, cast

from tamis.compiler.cache.blobs import OBJECTS, chunks
from tamis.compiler.cache.entry import MAX_BYTES, BlobLostError, Entry, EntryError, dump, parse
from tamis.compiler.cache.evict import ENTRIES
from tamis.compiler.cache.store import Store
from tamis.compiler.errors import UsageError
from tamis.compiler.manifest import FileRecord
from tamis.compiler.plain_file import what_is_at
from tamis.compiler.staging import staged_file, write_error

SUFFIX = ".tar"
MEMBER = re.compile(r"(objects|entries)/([0-9a-f]{2})/(\2[0-9a-f]{62})(\.json)?")
MAX_HEADER = 1 << 24
MALFORMED = (ValueError, ArithmeticError, LookupError, RecursionError, EOFError)
"""What ``tarfile`` raises on malformed headers, besides its own errors."""
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)

Update = Callable[[float], None]


@dataclass(frozen=True)
class Moved:
    """What was exported or imported.

    Args:
        entries, blobs, bytes: How many.
        left_out: Keys of entries that are damaged, or lack a blob.
    """

    entries: int
    blobs: int
    bytes: int
    left_out: tuple[str, ...]


def matching_keys(store: Store, starts: Sequence[str]) -> list[str]:
    """The keys that begin as given; all of them if nothing is given.

    Raises:
        UsageError: None or several begin so.
    """
    keys = store.entries.all_keys()
    if not starts:
        return keys
    found = []
    for start in starts:
        fitting = [key for key in keys if key.startswith(start)]
        if len(fitting) != 1:
            raise UsageError(
                f"{'several keys begin' if fitting else 'no key begins'} with {start!r}",
                where="KEYS",
                expected="the beginning of one key that 'tamis cache ls' shows",
            )
        found += fitting
    return sorted(set(found))


def export_archive(store: Store, file: Path, keys: Sequence[str], *, progress: Update = lambda fraction: None) -> Moved:
    """Write entries with their blobs to a tar file: the same entries give the same bytes.

    Args:
        store: Where they are.
        file: The archive; it appears whole or not at all.
        keys: Which entries.
        progress: Called with the fraction that is done.

    Raises:
        OutputError, WriteError: ``file`` cannot be written.
    """
    blobs: set[FileRecord] = set()
    left_out: list[str] = []
    with staged_file(file) as path, tarfile.open(path, "w") as tar:
        for index, key in enumerate(keys):
            entry = store.get(key, check=True)
            if entry is None or not _add_blobs(tar, store, entry, blobs):
                left_out.append(key)
                continue
            text = dump(entry)
            tar.addfile(_info(store, store.entries.path(key), len(text)), io.BytesIO(text))
            progress((index + 1) / len(keys))
    return Moved(len(keys) - len(left_out), len(blobs), sum(r.bytes for r in blobs), tuple(left_out))


def _add_blobs(tar: tarfile.TarFile, store: Store, entry: Entry, done: set[FileRecord]) -> bool:
    for record in sorted(set(entry.files.values()) - done, key=lambda r: r.sha256):
        try:
            stream = store.blob(record).open("rb")
        except (BlobLostError, OSError):
            return False
        with stream:
            tar.addfile(_info(store, store.blobs.path(record), record.bytes), stream)
        done.add(record)
    return True


def _info(store: Store, path: Path, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.relative_to(store.folder).as_posix())
    info.size = size
    return info


def import_archive(store: Store, file: Path, *, progress: Update = lambda fraction: None) -> Moved:
    """Add the entries of a tar file that ``export_archive`` wrote.

    Args:
        store: Gets them.
        file: The archive; it may come from anywhere.
        progress: Called with the fraction that is done.

    Raises:
        UsageError: The archive cannot be read, is damaged, or holds something else. What came before is whole and stays.
        OutputError, WriteError: The store cannot be written.
    """
    moved = Moved(0, 0, 0, ())
    with _reading(file) as (tar, total):
        for member in tar:
            progress(member.offset / total)
            moved = _import(store, tar, member, moved)
    return moved


def _import(store: Store, tar: tarfile.TarFile, member: tarfile.TarInfo, so_far: Moved) -> Moved:
    found = MEMBER.fullmatch(member.name)
    whole = member.type in PLAIN and not member.sparse and member.size >= 0
    if not found or not whole or (found[1] == ENTRIES) != bool(found[4]):
        raise EntryError(f"{member.name[:100]!r}, which is no part of a cache")
    digest = found[3]
    stream = cast(BinaryIO, tar.extractfile(member))
    if found[1] == OBJECTS:
        _import_blob(store, stream, FileRecord(sha256=digest, bytes=member.size))
        return replace(so_far, blobs=so_far.blobs + 1, bytes=so_far.bytes + member.size)
    entry = parse(stream.read(MAX_BYTES + 1), digest)
    if not all(map(store.blobs.has, entry.files.values())):
        return replace(so_far, left_out=(*so_far.left_out, digest))
    with _writing(store):
        store.write_entry(entry)
    return replace(so_far, entries=so_far.entries + 1)


def _import_blob(store: Store, stream: BinaryIO, record: FileRecord) -> None:
    if store.blobs.has(record):
        return

    def fill(sink: BinaryIO) -> FileRecord:
        digest = hashlib.sha256()
        for chunk in chunks(stream):
            digest.update(chunk)
            sink.write(chunk)
        if digest.hexdigest() != record.sha256:
            raise EntryError(f"{record.sha256[:16]}… with another digest")
        return record

    with _writing(store):
        store.blobs.write(fill)
        store.wrote(record.bytes)


@contextmanager
def _writing(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_error(error, store.folder) from error


@contextmanager
def _reading(file: Path) -> Iterator[tuple[tarfile.TarFile, int]]:
    """The archive and its size; what is wrong with it is the user's to mend."""
    try:
        if what_is_at(file) == "something else":  # opening a pipe waits for its other end
            raise OSError("not a file")
        with file.open("rb") as stream, tarfile.open(fileobj=cast(IO[bytes], _Bounded(stream)), mode="r:") as tar:
            yield tar, file.stat().st_size
    except (tarfile.TarError, *MALFORMED, OSError) as error:
        raise UsageError(
            "is not an archive of the cache or is damaged",
            where=str(file),
            found=str(error),
            fix="export it again with 'tamis cache export'",
        ) from error


class _Bounded:
    """A file whose reads are bounded, since ``tarfile`` reads headers of any length at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        """At most ``MAX_HEADER`` bytes.

        Raises:
            ReadError: More, or less than nothing, is asked for.
        """
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError("a header is too long")
        return self._stream.read(size)
