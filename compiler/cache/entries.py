"""Entries: files called by their key, read and written as a whole."""

from __future__ import annotations

from pathlib import Path

from tamis.compiler.cache.draft import draft
from tamis.compiler.cache.entry import MAX_BYTES, Entry, check_digest, dump, parse
from tamis.compiler.cache.evict import ENTRIES


class Entries:
    """The entries below a folder.

    Args:
        folder: Of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where an entry is, if it is there.

        Raises:
            EntryError: ``key`` is not one.
        """
        return self.folder / ENTRIES / check_digest(key)[:2] / f"{key}.json"

    def all_keys(self) -> list[str]:
        """All keys, sorted."""
        return sorted(path.stem for path in (self.folder / ENTRIES).glob("??/*.json"))

    def read(self, key: str) -> Entry:
        """An entry, without its blobs and without marking it as used.

        Raises:
            EntryError: It is damaged, or ``key`` is not one.
            OSError: It is not here, or cannot be read.
        """
        with self.path(key).open("rb") as stream:
            return parse(stream.read(MAX_BYTES + 1), key)

    def write(self, entry: Entry) -> int:
        """Write an entry in place of what its key gave before; returns the size of its text, bytes.

        Raises:
            OSError: It cannot be written.
        """
        text = dump(entry)
        with draft(self.folder) as made:
            made.stream.write(text)
            made.publish(self.path(entry.key))
        return len(text)

    def used(self, key: str) -> float:
        """When an entry was used last, seconds since 1970; 0 if it is not here."""
        try:
            return self.path(key).stat().st_mtime
        except OSError:
            return 0.0
