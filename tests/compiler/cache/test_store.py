"""The store gives back what was put, or nothing; it never fails a build and never gives damaged content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tamis.compiler.cache.entry import MAX_BYTES, BlobLostError, EntryError
from tamis.compiler.cache.store import DEFAULT_LIMIT, Store, open_store
from tamis.compiler.errors import UsageError
from tamis.compiler.manifest import FileRecord
from tests.compiler.cache.conftest import files, key
from tests.full_disk import files_of_at_most


def test_put_and_get(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"model" * 1_000_000)
    assert store.get(key(1)) is None
    blob = store.add(memoryview(b"weights"))
    put = store.put(key(1), "step", {"n": 1}, {"m/model.onnx": source, "w": blob, "same": b"weights"})
    assert store.get(key(1)) == put == store.get(key(1), check=True) == Store(store.folder).get(key(1))
    assert put.files["w"] == put.files["same"] == FileRecord(sha256=blob.sha256, bytes=7)
    assert store.blob(blob).read_bytes() == b"weights"
    assert len(files(store.folder / "objects")) == 2
    assert files(store.folder / "drafts") == []
    assert store.entries.all_keys() == [key(1)]


def test_put_again_replaces(store: Store) -> None:
    store.put(key(1), "step", {"n": 1}, {"a": b"1"})
    assert store.put(key(1), "step", {"n": 2}, {"b": b"2"}) == store.get(key(1))


def test_the_same_blob_is_written_once(store: Store) -> None:
    path = store.blob(store.add(b"x" * 1000))
    before = path.stat().st_ino
    store.add(b"x" * 1000)
    assert path.stat().st_ino == before


def test_blobs_are_read_only_and_copies_are_not(store: Store, tmp_path: Path) -> None:
    record = store.add(b"model")
    assert store.blob(record).stat().st_mode & 0o222 == 0
    store.restore(record, tmp_path / "copy")
    (tmp_path / "copy").write_bytes(b"edits")
    assert store.blob(record).read_bytes() == b"model"


@pytest.mark.parametrize("damage", ["truncated", "longer", "gone"])
def test_a_blob_of_the_wrong_size_is_a_miss(store: Store, damage: str) -> None:
    record = store.put(key(1), "step", {}, {"a": b"model"}).files["a"]
    path = store.blobs.path(record)
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"mod" if damage == "truncated" else b"modelmodel")
    assert store.get(key(1)) is None
    assert store.entries.all_keys() == []
    store.put(key(1), "step", {}, {"a": b"model"})
    assert store.get(key(1), check=True) is not None


@pytest.mark.parametrize("way", ["get", "blob", "restore"])
def test_a_flipped_byte_is_never_used(store: Store, tmp_path: Path, way: str) -> None:
    record = store.put(key(1), "step", {}, {"a": b"model"}).files["a"]
    path = store.blobs.path(record)
    path.unlink()
    path.write_bytes(b"modem")
    again = Store(store.folder)
    if way == "get":
        assert again.get(key(1), check=True) is None
    elif way == "blob":
        with pytest.raises(BlobLostError):
            again.blob(record)
    else:
        with pytest.raises(BlobLostError):
            again.restore(record, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
    assert not path.exists()
    assert again.get(key(1)) is None


def test_a_flipped_byte_in_an_entry(store: Store) -> None:
    store.put(key(1), "step", {"tolerance": 1}, {})
    path = store.entries.path(key(1))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"tolerance": 1', b'"tolerance": 9'))
    assert store.get(key(1)) is None
    assert not path.exists()


def test_an_entry_under_another_key(store: Store) -> None:
    store.put(key(1), "step", {}, {})
    store.entries.path(key(1)).rename(store.entries.path(key(2)))
    assert store.get(key(2)) is None


@pytest.mark.parametrize("bad", ["", "x", "../" * 30, "A" * 64])
def test_keys_and_names_are_checked(store: Store, bad: str) -> None:
    with pytest.raises(EntryError):
        store.get(bad)
    with pytest.raises(EntryError):
        store.put(bad, "step", {}, {})
    with pytest.raises(EntryError):
        store.put(key(1), "step", {}, {f"/{bad}": b""})
    with pytest.raises(EntryError):
        store.blob(FileRecord(sha256=bad, bytes=1))


def test_what_is_too_large_is_not_stored(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", limit=1000)
    entry = store.put(key(1), "step", {}, {"a": b"x" * 1001})
    assert entry.files["a"].bytes == 1001
    store.put(key(2), "step", {}, {"a": b"x" * 600, "b": b"y" * 600})
    store.put(key(3), "step", {"text": "x" * MAX_BYTES}, {})
    assert [store.get(key(i)) for i in (1, 2, 3)] == [None] * 3


def test_an_entry_is_not_stored_without_its_blob(store: Store) -> None:
    store.put(key(1), "step", {}, {"a": FileRecord(sha256=key(7), bytes=1)})
    assert files(store.folder) == []


def test_a_source_that_cannot_be_read_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.add(tmp_path / "missing")


def test_a_full_disk_warns_once_and_fails_nothing(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    store.put(key(1), "step", {}, {"a": b"small"})
    before = [p for p in files(store.folder) if p != "written"]
    with files_of_at_most(50_000):
        entry = store.put(key(2), "step", {}, {"a": b"x" * 100_000})
        store.put(key(3), "step", {}, {"a": b"y" * 100_000})
        Store(store.folder).put(key(4), "step", {}, {"a": b"y" * 100_000})
    assert entry.files["a"].bytes == 100_000
    assert [store.get(key(i)) is None for i in (1, 2, 3, 4)] == [False, True, True, True]
    assert [p for p in files(store.folder) if p != "written"] == before
    warned = capfd.readouterr().err
    assert warned.count("tamis: warning: the cache") == 1
    assert "File too large" in warned


def test_a_folder_that_cannot_be_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = Store(tmp_path / "file" / "cache")
    assert store.get(key(1)) is None
    store.put(key(1), "step", {}, {"a": b"x"})
    store.put(key(2), "step", {}, {"a": b"x"})
    assert store.get(key(1)) is None
    assert capfd.readouterr().err.count("\n") == 1


def test_nothing_is_made_by_reading(store: Store) -> None:
    assert store.get(key(1)) is None
    assert store.entries.all_keys() == []
    assert not store.folder.exists()


def test_open_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAMIS_CACHE", "TAMIS_CACHE_MB", "TAMIS_CACHE_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TAMIS_CACHE_DIR", os.path.relpath(tmp_path / "cache"))
    store = open_store()
    assert store is not None
    assert (store.folder, store.limit, store.remote) == (
        Path(os.path.relpath(tmp_path / "cache")).absolute(),
        DEFAULT_LIMIT,
        None,
    )
    monkeypatch.setenv("TAMIS_CACHE_MB", "5")
    monkeypatch.setenv("TAMIS_CACHE_REMOTE", "https://build.example.org/cache/")
    store = open_store()
    assert store is not None
    assert store.limit == 5_000_000
    assert store.remote is not None
    assert store.remote.mode == "read"
    monkeypatch.setenv("TAMIS_CACHE", "off")
    assert open_store() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAMIS_CACHE", "maybe"),
        ("TAMIS_CACHE_MB", "-1"),
        ("TAMIS_CACHE_MB", "ten"),
        ("TAMIS_CACHE_MB", "9" * 5000),
        ("TAMIS_CACHE_REMOTE", "/just/a/path"),
        ("TAMIS_CACHE_REMOTE_MODE", "append"),
    ],
)
def test_an_environment_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.delenv("TAMIS_CACHE", raising=False)
    monkeypatch.setenv("TAMIS_CACHE_REMOTE", "memory://cache")
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        open_store()
