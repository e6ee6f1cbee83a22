"""A cache that several people and machines share: a folder behind a URL, laid out as the store is.

Nothing from it is trusted: sizes are bounded, names and digests checked, before anything enters the store. A remote that
cannot be reached makes one warning; the build goes on without.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from tamis.compiler.cache.blobs import CHUNK, OBJECTS, copy_of
from tamis.compiler.cache.complain import complain
from tamis.compiler.cache.draft import draft
from tamis.compiler.cache.entry import MAX_BYTES, Entry, EntryError, dump, parse
from tamis.compiler.cache.evict import ENTRIES
from tamis.compiler.cache.seal import seal, unseal
from tamis.compiler.errors import UsageError

if TYPE_CHECKING:
    from tamis.compiler.manifest import FileRecord

MODES = ("read", "write")
READ_ONLY = ("http", "https")
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
SLOWEST = 10_000
"""Bytes a second."""
SEAL_BYTES = 128


class Remote:
    """The remote at a URL.

    Args:
        url: For fsspec: ``s3://bucket/folder``, ``gs://``, ``file:///``, ``memory://`` or, to read only, ``https://``.
        mode: ``read``, or ``write`` for both. Default: ``write`` where that can be.
        secret: Entries are sealed with it, and those without its seal are refused.

    Raises:
        UsageError: ``url`` is not one, or ``mode`` is not one that it can have.
    """

    def __init__(self, url: str, *, mode: str | None = None, secret: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.protocol, mark, rest = url.partition("://")
        if not (mark and self.protocol and rest.strip("/")):
            raise UsageError("is not a URL", where="TAMIS_CACHE_REMOTE", expected="as in s3://bucket/folder", found=url)
        read_only = self.protocol in READ_ONLY
        self.mode = mode or ("read" if read_only else "write")
        allowed = MODES[:1] if read_only else MODES
        if self.mode not in allowed:
            expected = " or ".join(allowed)
            raise UsageError(
                "makes no sense", where="TAMIS_CACHE_REMOTE_MODE", expected=expected, found=repr(self.mode)
            )
        self.secret = secret
        self._usable = True
        self._refused: set[str] = set()

    def entry(self, key: str, limit: int) -> Entry | None:
        """What a key gives there.

        Args:
            key: SHA-256, hexadecimal.
            limit: Bytes that its files may have together.

        Returns:
            None if it is not known, cannot be reached, or was refused.
        """
        most = MAX_BYTES + SEAL_BYTES
        text = b"".join(self._chunks(_entry_name(key), most))
        if not text:
            return None
        try:
            if len(text) > most:
                raise EntryError(f"larger than {MAX_BYTES} bytes")
            entry = parse(unseal(text, self.secret), key)
        except EntryError as error:
            self._refuse(key, str(error))
            return None
        return entry if entry.bytes <= limit else None

    def fetch(self, record: FileRecord, sink: BinaryIO) -> bool:
        """Write a blob to ``sink``; whether it came whole and with the right digest.

        Raises:
            OSError: ``sink`` cannot be written.
        """
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks(_blob_name(record.sha256), record.bytes):
            digest.update(chunk)
            size += len(chunk)
            sink.write(chunk)
        if (digest.hexdigest(), size) == (record.sha256, record.bytes):
            return True
        if size:
            self._refuse(record.sha256, "its digest differs")
        return False

    def push(self, entry: Entry, blobs: Mapping[str, Path]) -> None:
        """Store an entry there, its blobs first, unless the remote is only read.

        Args:
            entry: The entry.
            blobs: Digest -> file, of all blobs in it.
        """
        if self.mode != "write":
            return
        if not all(self._send(path, _blob_name(name), again=name in self._refused) for name, path in blobs.items()):
            return
        text = dump(entry)
        self._send(text if self.secret is None else seal(text, self.secret), _entry_name(entry.key), again=True)

    def _chunks(self, name: str, most: int) -> Iterator[bytes]:
        """The content of a file there, at most a byte more than ``most``; nothing if it cannot be had."""
        if not self._usable:
            return
        with self._failures_told():
            fs, root = self._file_system()
            # a stream, without asking for its size first
            options = {"block_size": 0, "size": 1} if self.protocol in READ_ONLY else {}
            try:
                stream = fs.open(f"{root}/{name}", "rb", **options)
            except FileNotFoundError:
                return
            with stream:
                yield from _at_most(most + 1, stream)

    def _send(self, content: Path | bytes, name: str, *, again: bool) -> bool:
        if not self._usable:
            return False
        with self._failures_told():
            fs, root = self._file_system()
            path = f"{root}/{name}"
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            if not again and fs.exists(path) and fs.info(path)["size"] == size:
                return True
            if self.protocol in ("file", "local"):
                with draft(Path(root)) as made:
                    copy_of(content, made.stream)
                    made.publish(Path(path))
            elif isinstance(content, Path):
                fs.put_file(str(content), path)
            else:
                fs.pipe_file(path, content)
            return True
        return False

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        """Failures inside end the use of the remote, with one warning."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  each file system has its own kinds
            self._usable = False
            where = shown(self.url)
            complain(where, f"the remote cache {where} cannot be used, going on without: {self._reason(error)}")

    def _file_system(self) -> tuple[Any, str]:
        """Made anew each time: fsspec keeps one for each process and thread."""
        import fsspec

        options: dict[str, Any] = {}
        if self.protocol in READ_ONLY:
            import aiohttp

            times = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
            options = {"client_kwargs": {"timeout": times}}
        fs, root = fsspec.core.url_to_fs(self.url, **options)
        return fs, root.rstrip("/")

    def _reason(self, error: Exception) -> str:
        if isinstance(error, ImportError):
            return f"{error}; pip install 'tamis[remote]', for s3 also s3fs, for gs also gcsfs"
        return f"{type(error).__name__}: {error}".replace(self.url, shown(self.url))

    def _refuse(self, name: str, why: str) -> None:
        self._refused.add(name)
        where = shown(self.url)
        complain(f"{where} {name}", f"{name[:16]}… of the remote cache {where} was refused: {why}")


def shown(url: str) -> str:
    """A URL as it may be printed: without a password, and without what follows ``?``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _entry_name(key: str) -> str:
    return f"{ENTRIES}/{key[:2]}/{key}.json"


def _blob_name(sha256: str) -> str:
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


def _at_most(size: int, stream: BinaryIO) -> Iterator[bytes]:
    """The first ``size`` bytes of a stream, in pieces.

    Raises:
        TimeoutError: They drip.
    """
    started, got = time.monotonic(), 0
    while got < size and (chunk := stream.read(min(CHUNK, size - got))):
        got += len(chunk)
        yield chunk
        seconds = time.monotonic() - started
        if seconds > READ_SECONDS and got < seconds * SLOWEST:
            raise TimeoutError(f"{got} bytes in {seconds:.0f} s")
