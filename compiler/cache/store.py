"""The store: what was built, found again by the digest of all that it depends on.

::

    objects/ab/<sha256>      blobs: models, bundles ..., each once, read-only
    entries/ab/<key>.json    what a key gives: data, and names with digests of blobs
    drafts/                  what is being written now

It lies beside the tuning database. Any number of processes may use it at once: blobs and entries appear whole or not at
all, blobs before the entry that names them, and no lock outlives its process. What is damaged is removed, never used. A
full disk or a folder that cannot be written makes one warning; what could not be stored is built again next time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from tamis.compiler.cache.blobs import Blobs, Content, copy_of, record_of
from tamis.compiler.cache.complain import complain
from tamis.compiler.cache.draft import draft, sweep
from tamis.compiler.cache.entries import Entries
from tamis.compiler.cache.entry import MAX_BYTES, MAX_FILES, BlobLostError, Entry, EntryError, check_digest, dump
from tamis.compiler.cache.evict import LEAVE, evict, note_written
from tamis.compiler.errors import UsageError
from tamis.compiler.manifest import FileRecord
from tamis.compiler.tuning_database import default_path

if TYPE_CHECKING:
    from tamis.compiler.cache.remote import Remote

DEFAULT_LIMIT = 10_000_000_000
"""Size of the cache, bytes."""


class Store:
    """The store in a folder, which is made when something is written.

    Args:
        folder: Of the cache.
        limit: Its size, bytes; more is evicted, least recently used first.
        remote: Asked for what is not here, and told what is new.
    """

    def __init__(self, folder: Path, *, limit: int = DEFAULT_LIMIT, remote: Remote | None = None) -> None:
        self.folder = folder.absolute()
        self.limit = limit
        self.remote = remote
        self.blobs = Blobs(self.folder)
        self.entries = Entries(self.folder)
        self._writable = True
        self._swept = False

    def get(self, key: str, *, check: bool = False) -> Entry | None:
        """What a key gives; marks it as used.

        Args:
            key: SHA-256, hexadecimal.
            check: Hash every blob now, rather than when it is used.

        Returns:
            None if it is not known. An entry that is damaged, or that lacks a blob, is removed.

        Raises:
            EntryError: ``key`` is not one.
        """
        entry = self._checked(self._local(key), check)
        if entry is None and self.remote:
            entry = self._checked(self._pull(self.remote, key), check)
        return entry

    def put(
        self, key: str, kind: str, data: Mapping[str, JsonValue], files: Mapping[str, Content | FileRecord]
    ) -> Entry:
        """Store what a key gives, in place of what it gave before.

        Args:
            key: SHA-256, hexadecimal.
            kind: What it is: ``step``, ``bundle`` ...
            data: Small JSON data.
            files: Name -> a file, its content, or the record of a blob that is stored already.

        Returns:
            The entry. It is not stored if it is larger than an entry or the store may be, if a blob is lost, or if the
            store cannot be written.

        Raises:
            EntryError: The key or a name is not one.
            OSError: A file of ``files`` cannot be read.
        """
        records = {name: f if isinstance(f, FileRecord) else self.add(f) for name, f in files.items()}
        entry = Entry(check_digest(key), kind, dict(data), records)
        fits = len(dump(entry)) <= MAX_BYTES and len(records) <= MAX_FILES and entry.bytes <= self.limit
        if fits and all(map(self.blobs.has, records.values())) and self._keep(entry) and self.remote:
            self.remote.push(entry, {r.sha256: self.blobs.path(r) for r in records.values()})
        return entry

    def add(self, content: Content) -> FileRecord:
        """Store one blob, unless it is there; see ``put`` for when it is not stored."""
        record = record_of(content)
        if not self._writable or record.bytes > self.limit:
            return record
        if self.blobs.has(record):
            self._touch([self.blobs.path(record)])
            return record
        try:
            self._sweep_once()
            record = self.blobs.write(lambda sink: copy_of(content, sink))
            self.wrote(record.bytes)
        except OSError as error:
            self._give_up(error)
        return record

    def blob(self, record: FileRecord) -> Path:
        """The file of a blob, to read only. It is hashed when it is asked for first.

        Raises:
            BlobLostError: It is not there, or is damaged (then it is removed).
        """
        return self.blobs.checked(record)

    def restore(self, record: FileRecord, to: Path) -> None:
        """Copy a blob out, so that later edits of ``to`` change nothing here.

        Raises:
            BlobLostError: It is not there, or is damaged (then it is removed); nothing is left at ``to``.
            OSError: ``to`` cannot be written.
        """
        self.blobs.copy(record, to)

    def forget(self, key: str) -> None:
        """Remove an entry; its blobs go when they are the least recently used."""
        try:
            self.entries.path(key).unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)

    def _local(self, key: str) -> Entry | None:
        try:
            entry = self.entries.read(key)
        except EntryError:
            self.forget(key)
            return None
        except OSError:
            return None
        if not all(map(self.blobs.has, entry.files.values())):
            self.forget(key)
            return None
        self._touch([self.entries.path(key), *map(self.blobs.path, entry.files.values())])
        return entry

    def _checked(self, entry: Entry | None, check: bool) -> Entry | None:
        if entry is not None and check:
            try:
                for record in entry.files.values():
                    self.blobs.checked(record)
            except BlobLostError:
                self.forget(entry.key)
                return None
        return entry

    def _pull(self, remote: Remote, key: str) -> Entry | None:
        entry = remote.entry(key, self.limit) if self._writable else None
        if entry is None:
            return None
        try:
            for record in entry.files.values():
                if self.blobs.has(record):
                    self._touch([self.blobs.path(record)])
                    continue
                with draft(self.folder) as made:
                    if not remote.fetch(record, made.stream):
                        return None
                    made.publish(self.blobs.path(record))
                self.wrote(record.bytes)
        except OSError as error:
            self._give_up(error)
            return None
        return entry if self._keep(entry) else None

    def write_entry(self, entry: Entry) -> None:
        """Store an entry whose blobs are here.

        Raises:
            OSError: It cannot be written.
        """
        size = self.entries.write(entry)
        self._touch([self.entries.path(entry.key), *map(self.blobs.path, entry.files.values())])
        self.wrote(size)

    def _keep(self, entry: Entry) -> bool:
        if not self._writable:
            return False
        try:
            self._sweep_once()
            self.write_entry(entry)
        except OSError as error:
            self._give_up(error)
            return False
        return True

    def _touch(self, paths: list[Path]) -> None:
        now = time.time_ns()
        for path in paths:
            try:
                os.utime(path, ns=(now, now))
            except OSError:
                continue  # read-only, or evicted meanwhile: then it is found missing when it is used

    def wrote(self, size: int) -> None:
        """Count what was written, and evict when it is time.

        Raises:
            OSError: It cannot be counted.
        """
        if note_written(self.folder, size, self.limit):
            evict(self.folder, limit=int(self.limit * LEAVE))

    def _sweep_once(self) -> None:
        if not self._swept:
            self._swept = True
            sweep(self.folder)

    def _give_up(self, error: OSError) -> None:
        self._writable = False
        complain(str(self.folder), f"the cache {self.folder} cannot be written, going on without: {error.strerror}")


def local_store() -> Store:
    """The user's store without a remote: ``TAMIS_CACHE_DIR`` is the folder, ``TAMIS_CACHE_MB`` the size (default 10000).

    Raises:
        UsageError: ``TAMIS_CACHE_MB`` makes no sense.
    """
    text = os.environ.get("TAMIS_CACHE_MB") or str(DEFAULT_LIMIT // 1_000_000)
    if not re.fullmatch("[0-9]{1,12}", text):
        raise UsageError("makes no sense", where="TAMIS_CACHE_MB", expected="a whole number", found=repr(text))
    return Store(default_path().parent, limit=int(text) * 1_000_000)


def open_store() -> Store | None:
    """The user's store with its remote; None with ``TAMIS_CACHE=off``.

    ``TAMIS_CACHE_REMOTE``, ``TAMIS_CACHE_REMOTE_MODE`` and ``TAMIS_CACHE_REMOTE_KEY`` are the arguments of ``Remote``.

    Raises:
        UsageError: One of these makes no sense.
    """
    switch = os.environ.get("TAMIS_CACHE", "").lower()
    if switch == "off":
        return None
    if switch not in ("", "on"):
        raise UsageError("makes no sense", where="TAMIS_CACHE", expected="on or off", found=repr(switch))
    store = local_store()
    if url := os.environ.get("TAMIS_CACHE_REMOTE"):
        from tamis.compiler.cache.remote import Remote

        mode, secret = (os.environ.get(f"TAMIS_CACHE_REMOTE_{name}") or None for name in ("MODE", "KEY"))
        store.remote = Remote(url, mode=mode, secret=secret)
    return store
