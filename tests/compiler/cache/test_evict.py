"""The cache stays within its size, and what was used least recently goes first."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tamis.compiler.cache import evict as module
from tamis.compiler.cache.evict import UNIT, evict, note_written, stored_files
from tamis.compiler.cache.store import Store
from tests.compiler.cache.conftest import key

HOUR = 3600


def used_hours_ago(store: Store, number: int, hours: float) -> None:
    """Set the last use of an entry and its blobs."""
    entry = store.entries.read(key(number))
    then = time.time() - hours * HOUR
    for path in (store.entries.path(key(number)), *map(store.blobs.path, entry.files.values())):
        os.utime(path, (then, then))


@pytest.fixture
def five(store: Store) -> Store:
    """Entries 0 to 4 with a blob of 10 kB each, last used 50, 40, 30, 20, 10 hours ago."""
    for number in range(5):
        store.put(key(number), "step", {}, {"a": bytes([number]) * 10_000})
        used_hours_ago(store, number, 50 - 10 * number)
    return store


def kept(store: Store) -> list[int]:
    return [int(k, 16) for k in store.entries.all_keys() if store.get(k)]


def test_least_recently_used_goes_first(five: Store) -> None:
    assert five.get(key(1))
    done = evict(five.folder, limit=32_000)
    assert kept(five) == [1, 3, 4]
    assert (done.removed, done.spared) == (4, 0)
    assert done.left_bytes == sum(f.bytes for f in stored_files(five.folder)) <= 32_000


def test_an_entry_goes_with_its_blob(five: Store) -> None:
    evict(five.folder, limit=32_000)
    assert len(five.entries.all_keys()) == 3
    assert sum(f.is_blob for f in stored_files(five.folder)) == 3


def test_a_shared_blob_stays_while_one_that_names_it_is_used(five: Store) -> None:
    five.put(key(5), "step", {}, {"a": bytes([0]) * 10_000})
    evict(five.folder, limit=32_000)
    assert 5 in kept(five)
    assert 0 not in kept(five)


def test_what_was_used_of_late_stays(five: Store) -> None:
    five.put(key(6), "step", {}, {"a": b"6" * 90_000})
    done = evict(five.folder, limit=50_000)
    assert kept(five) == [6]
    assert (done.spared, done.left_bytes > 90_000) == (2, True)
    assert evict(five.folder, limit=50_000, grace=0).removed == 2
    assert kept(five) == []


def test_by_age(five: Store) -> None:
    evict(five.folder, limit=10**9, older_than=25 * HOUR)
    assert kept(five) == [3, 4]


def test_a_dry_run_removes_nothing(five: Store) -> None:
    done = evict(five.folder, limit=0, dry_run=True)
    assert (done.removed, done.left_bytes) == (10, 0)
    assert len(list(stored_files(five.folder))) == 10


def test_a_file_that_is_used_meanwhile_stays(five: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(folder: Path) -> int:
        return 0

    monkeypatch.setattr(module, "sweep", meanwhile)
    seen = list(stored_files(five.folder))
    monkeypatch.setattr(module, "stored_files", lambda folder: iter(seen))
    assert five.get(key(0))
    evict(five.folder, limit=0)
    assert kept(five) == [0]


def test_putting_evicts_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def counted(folder: Path, *, limit: int) -> module.Evicted:
        looked.append(limit)
        return evict(folder, limit=limit)

    monkeypatch.setattr("tamis.compiler.cache.store.evict", counted)
    store = Store(tmp_path / "cache", limit=100 * UNIT)
    for number in range(30):
        store.put(key(number), "step", {}, {"a": bytes([number]) * (5 * UNIT)})
        used_hours_ago(store, number, 50 - number)
    assert 20 <= len(looked) <= 31
    assert sum(f.bytes for f in stored_files(store.folder)) <= 100 * UNIT
    assert kept(store)[-1] == 29
    assert 0 not in kept(store)


def test_small_entries_do_not_look_each_time(tmp_path: Path) -> None:
    due = [note_written(tmp_path, 100, 20 * 50 * UNIT) for _ in range(102)]
    assert [i for i, now in enumerate(due) if now] == [50, 101]


def test_an_empty_cache(tmp_path: Path) -> None:
    assert evict(tmp_path / "none", limit=0).removed == 0
    assert not (tmp_path / "none").exists()
