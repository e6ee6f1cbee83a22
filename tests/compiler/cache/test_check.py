"""Checking finds what was damaged on the disk, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.compiler.cache.check import check_store
from tamis.compiler.cache.store import Store
from tests.compiler.cache.conftest import files, key


@pytest.fixture
def three(store: Store) -> Store:
    for number in range(3):
        store.put(key(number), "step", {}, {"a": bytes([number]) * 1000, "all": b"all"})
    return store


def damage(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_a_good_store(three: Store) -> None:
    found = check_store(three)
    assert (found.entries, found.blobs, found.damaged) == (3, 4, ())
    assert found.bytes > 3000


def test_a_flipped_byte_takes_the_entry_with_it(three: Store) -> None:
    blob = three.blobs.path(three.entries.read(key(1)).files["a"])
    damage(blob, blob.read_bytes()[:-1] + b"x")
    before = files(three.folder)
    reported = check_store(three, dry_run=True)
    assert [d.reason for d in reported.damaged] == ["its content has another digest", "lacks the blob of a"]
    assert files(three.folder) == before
    assert check_store(three).damaged == reported.damaged
    assert three.entries.all_keys() == [key(0), key(2)]
    assert check_store(three).damaged == ()


def test_entries_that_are_wrong(three: Store) -> None:
    damage(three.entries.path(key(0)), b"{}")
    three.entries.path(key(1)).rename(three.entries.path(key(1)).with_name(f"{key(7)}.json"))
    (three.folder / "entries" / "00" / "foreign.txt").write_text("x")
    (three.folder / "objects" / "zz").mkdir()
    (three.folder / "objects" / "zz" / "foreign").write_text("x")
    assert len(check_store(three).damaged) == 4
    assert three.entries.all_keys() == [key(2)]


def test_progress_ends_at_one(three: Store) -> None:
    seen: list[float] = []
    check_store(three, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
