"""Blobs: files called by the SHA-256 of their content, written once, checked before they are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from tamis.compiler.cache.draft import draft
from tamis.compiler.cache.entry import BlobLostError, check_digest
from tamis.compiler.manifest import FileRecord

OBJECTS = "objects"
CHUNK = 1 << 20

Content = Path | bytes | memoryview


class Blobs:
    """The blobs below a folder.

    Args:
        folder: Of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._right: set[tuple[str, int, int]] = set()

    def path(self, record: FileRecord) -> Path:
        """Where the blob is, if it is there.

        Raises:
            EntryError: The digest is not one.
        """
        sha256 = check_digest(record.sha256)
        return self.folder / OBJECTS / sha256[:2] / sha256

    def has(self, record: FileRecord) -> bool:
        """Whether a blob of that name and size is there; its content is not read."""
        try:
            return self.path(record).stat().st_size == record.bytes
        except OSError:
            return False

    def checked(self, record: FileRecord) -> Path:
        """The blob, hashed once in this process. A damaged one is removed.

        Raises:
            BlobLostError: It is not there, or is damaged.
        """
        path = self.path(record)
        try:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                seen = (record.sha256, status.st_ino, status.st_size)
                if seen in self._right:
                    return path
                if status.st_size == record.bytes and digest_of(stream) == record.sha256:
                    self._right.add(seen)
                    return path
        except OSError as error:
            raise BlobLostError(f"{path} cannot be read: {error}") from error
        path.unlink(missing_ok=True)
        raise BlobLostError(f"{path} was damaged")

    def copy(self, record: FileRecord, to: Path) -> None:
        """Copy a blob, hashed on the way.

        Raises:
            BlobLostError: It is not there, or is damaged; then ``to`` is not there either.
            OSError: ``to`` cannot be written.
        """
        path = self.path(record)
        try:
            source = path.open("rb")
        except OSError as error:
            raise BlobLostError(f"{path} cannot be read: {error}") from error
        digest = hashlib.sha256()
        try:
            with source, to.open("wb") as sink:
                for chunk in chunks(source):
                    digest.update(chunk)
                    sink.write(chunk)
        except BaseException:
            to.unlink(missing_ok=True)
            raise
        if digest.hexdigest() != record.sha256:
            to.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise BlobLostError(f"{path} was damaged")

    def write(self, fill: Callable[[BinaryIO], FileRecord]) -> FileRecord:
        """Write a blob.

        Args:
            fill: Writes to a file and says what it wrote.

        Raises:
            OSError: The disk is full, the folder cannot be written ...
        """
        with draft(self.folder) as made:
            record = fill(made.stream)
            made.publish(self.path(record))
        return record


def record_of(content: Content) -> FileRecord:
    """Digest and size of a file or of bytes.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(content, Path):
        with content.open("rb") as stream:
            return FileRecord(sha256=digest_of(stream), bytes=stream.tell())
    view = memoryview(content).cast("B")
    return FileRecord(sha256=hashlib.sha256(view).hexdigest(), bytes=view.nbytes)


def copy_of(content: Content, sink: BinaryIO) -> FileRecord:
    """Write a file or bytes to ``sink``; says what was written, should the file change meanwhile."""
    if not isinstance(content, Path):
        sink.write(content)
        return record_of(content)
    digest, size = hashlib.sha256(), 0
    with content.open("rb") as source:
        for chunk in chunks(source):
            digest.update(chunk)
            size += len(chunk)
            sink.write(chunk)
    return FileRecord(sha256=digest.hexdigest(), bytes=size)


def digest_of(stream: BufferedReader) -> str:
    """SHA-256, hexadecimal, of the rest of a stream."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The rest of a stream in pieces."""
    while chunk := stream.read(CHUNK):
        yield chunk
