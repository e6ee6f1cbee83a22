"""What was measured, remembered: tuned settings and the guard's verdicts, in one SQLite file.

A record is keyed by its kind, the digest of the workload (models, shapes, options) and the digest of the
target's fingerprint (CPU, features, threads, versions), so that nothing measured elsewhere, or with
another version, is ever taken for an answer. The file is in the user's cache folder, or in
``TAMIS_CACHE_DIR``; several processes may use it at once.

A record whose measurements have a number ``cost`` can be compared with another of its key: the lower one is better.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import JsonValue

from tamis.compiler.errors import TuningError
from tamis.compiler.limits import RECORDS
from tamis.compiler.plain_file import limited_text
from tamis.compiler.staging import staged_file

FILE = "tuning.sqlite"
STATISTICS = "statistics"
"""The folder beside the database where passes keep what they found out about models and data."""
BUSY_SECONDS = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, workload TEXT NOT NULL, target TEXT NOT NULL,
    fingerprint TEXT NOT NULL, value TEXT NOT NULL, measurements TEXT NOT NULL,
    PRIMARY KEY (kind, workload, target))
"""
COLUMNS = ("kind", "workload", "target", "fingerprint", "value", "measurements")


@dataclass(frozen=True)
class Record:
    """One record.

    Args:
        kind: What was measured, e.g. ``guard``.
        workload, target: Digests.
        fingerprint: The target in words.
        value: The answer that a compile reuses.
        measurements: What the answer rests on.
    """

    kind: str
    workload: str
    target: str
    fingerprint: Mapping[str, str]
    value: Mapping[str, JsonValue]
    measurements: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: getattr(self, name) for name in COLUMNS}


def default_path() -> Path:
    """Where the database is: ``TAMIS_CACHE_DIR``, else the user's cache folder."""
    import platformdirs

    folder = os.environ.get("TAMIS_CACHE_DIR") or platformdirs.user_cache_dir("tamis", appauthor=False)
    return Path(folder) / FILE


def fingerprint_digest(fingerprint: Mapping[str, str]) -> str:
    """SHA-256 of a mapping of strings, whatever its order; hex."""
    return hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()


def remove_database(path: Path | None = None) -> Path:
    """Delete the database file, damaged or not, and the statistics beside it; returns its path.

    Raises:
        TuningError: It cannot be deleted.
    """
    path = path or default_path()
    try:
        for suffix in ("", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        if (statistics := path.with_name(STATISTICS)).is_dir():
            shutil.rmtree(statistics)
    except OSError as error:
        raise TuningError(f"cannot be removed: {error.strerror}", where=str(path)) from error
    return path


class TuningDatabase:
    """The open database; use it as a context manager.

    Args:
        path: The SQLite file; created if missing. Default: ``default_path()``.

    Raises:
        TuningError: The file is damaged, or the folder cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TuningError(
                f"the folder of the tuning database cannot be made: {error.strerror}",
                where=str(self.path.parent),
                fix="set TAMIS_CACHE_DIR to a folder that can be written",
            ) from error
        with self._errors():
            self._connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS)
            try:
                self._connection.execute(SCHEMA)
                self._connection.commit()
            except sqlite3.Error:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, kind: str, workload: str, fingerprint: Mapping[str, str]) -> Record | None:
        """The record of this workload on this target; None if there is none."""
        key = (kind, workload, fingerprint_digest(fingerprint))
        with self._errors():
            rows = self._connection.execute(
                f"SELECT {', '.join(COLUMNS)} FROM records WHERE kind=? AND workload=? AND target=?", key
            ).fetchall()
            return _record(rows[0]) if rows else None

    def put(
        self,
        kind: str,
        workload: str,
        fingerprint: Mapping[str, str],
        value: Mapping[str, JsonValue],
        measurements: Mapping[str, Any],
    ) -> None:
        """Store a record; one with the same key is replaced."""
        target = fingerprint_digest(fingerprint)
        self._insert(Record(kind, workload, target, fingerprint, value, measurements), replace=True)

    def decide(
        self,
        kind: str,
        workload: str,
        fingerprint: Mapping[str, str],
        measure: Callable[[], tuple[Mapping[str, JsonValue], Mapping[str, Any]]],
    ) -> tuple[Record, bool]:
        """The record of a workload, and whether it was there already; if not, ``measure`` finds its value and measurements.

        Of processes that measure the same at once, none waits for another, and the first to store decides for all.
        """
        if stored := self.get(kind, workload, fingerprint):
            return stored, True
        found = Record(kind, workload, fingerprint_digest(fingerprint), fingerprint, *measure())
        if self._insert(found, replace=False):
            return found, False
        return self.get(kind, workload, fingerprint) or found, True

    def update(
        self,
        kind: str,
        workload: str,
        fingerprint: Mapping[str, str],
        change: Callable[[Record | None], tuple[Mapping[str, JsonValue], Mapping[str, Any]]],
    ) -> None:
        """Replace the value and measurements of a record by what ``change`` makes of it, with no other writer between.

        Args:
            change: Gets the stored record, or None if there is none.
        """
        target = fingerprint_digest(fingerprint)
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            value, measurements = change(self.get(kind, workload, fingerprint))
            self._insert(Record(kind, workload, target, fingerprint, value, measurements), replace=True)
        except BaseException:
            self._connection.rollback()
            raise

    def matching(self, kind: str, fingerprint: Mapping[str, str]) -> Iterator[Record]:
        """All records of a kind for this target, ordered by their workloads."""
        with self._errors():
            query = f"SELECT {', '.join(COLUMNS)} FROM records WHERE kind=? AND target=? ORDER BY workload"
            rows = self._connection.execute(query, (kind, fingerprint_digest(fingerprint))).fetchall()
        for row in rows:
            with self._errors():
                yield _record(row)

    def items(self) -> Iterator[Record]:
        """All records, ordered by their keys."""
        with self._errors():
            query = f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY kind, workload, target"
            rows = self._connection.execute(query).fetchall()
        for row in rows:
            with self._errors():
                yield _record(row)

    def tuned_digest(self) -> str:
        """SHA-256, hexadecimal, of the records that a search has found: settings, and what has a cost."""
        query = (
            "SELECT kind, workload, target, value FROM records "
            "WHERE kind LIKE '%-settings' OR "  # JSON of Python may have infinities, which SQLite takes for malformed
            "CASE WHEN json_valid(measurements) THEN json_extract(measurements, '$.cost') ELSE 1 END IS NOT NULL "
            "ORDER BY kind, workload, target"
        )
        digest = hashlib.sha256()
        with self._errors():
            for row in self._connection.execute(query):
                digest.update(json.dumps(row).encode())
        return digest.hexdigest()

    def export_to(self, file: Path) -> int:
        """Write all records as JSON lines; returns their number."""
        lines = [json.dumps(r.to_dict(), sort_keys=True) + "\n" for r in self.items()]
        with staged_file(file) as path:
            path.write_text("".join(lines), encoding="utf-8")
        return len(lines)

    def import_from(self, file: Path) -> int:
        """Add records from JSON lines. A record that is here already stays, unless the new one is better by its cost.

        Returns:
            How many were added or replaced.

        Raises:
            TuningError: The file cannot be read, or a line is damaged; then nothing is added.
        """
        try:
            lines = limited_text(file, RECORDS).splitlines()
        except (OSError, ValueError) as error:
            raise TuningError("the records cannot be read", where=str(file), found=str(error)) from error
        records = [_parse(line, f"{file}:{i}") for i, line in enumerate(lines, 1) if line.strip()]
        with self._errors(), self._connection:
            return sum(self._insert(r, replace=self._improves(r), commit=False) for r in records)

    def _improves(self, record: Record) -> bool:
        stored = self.get(record.kind, record.workload, record.fingerprint)
        new, old = (None if r is None else r.measurements.get("cost") for r in (record, stored))
        return isinstance(new, int | float) and isinstance(old, int | float) and new < old

    def _insert(self, record: Record, *, replace: bool, commit: bool = True) -> int:
        verb = "REPLACE" if replace else "IGNORE"
        texts = (json.dumps(dict(getattr(record, n)), sort_keys=True) for n in COLUMNS[3:])
        with self._errors():
            cursor = self._connection.execute(
                f"INSERT OR {verb} INTO records VALUES (?, ?, ?, ?, ?, ?)",
                (record.kind, record.workload, record.target, *texts),
            )
            if commit:
                self._connection.commit()
        return cursor.rowcount

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            raise TuningError(
                "the tuning database cannot be used",
                where=str(self.path),
                found=str(error),
                fix="'tamis cache clear' starts a new one",
            ) from error


def _record(row: tuple[str, ...]) -> Record:
    kind, workload, target, *texts = row
    fingerprint, value, measurements = (json.loads(t) for t in texts)
    return Record(kind, workload, target, fingerprint, value, measurements)


def _parse(line: str, where: str) -> Record:
    try:
        data = json.loads(line)
        record = Record(**{name: data[name] for name in COLUMNS})
        if not all(isinstance(t, str) and t.isprintable() for t in (record.kind, record.workload, record.target)):
            raise ValueError("kind, workload and target must be texts")
        whole = isinstance(record.value, dict) and isinstance(record.measurements, dict)
        if not whole or record.target != fingerprint_digest(record.fingerprint):
            raise ValueError("the digest of the fingerprint does not match")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TuningError("a damaged record", where=where, found=str(error), fix="export the records again") from error
    return record
