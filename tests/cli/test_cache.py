"""``tamis cache``: list, check, prune and move what is kept, as a person and as a script."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tamis.compiler.cache.store import Store, local_store
from tamis.compiler.tuning_database import TuningDatabase
from tests.cli.conftest import Command


def key(number: int) -> str:
    return f"{number + 1}" * 64


@pytest.fixture
def kept(tamis: Command) -> Store:
    """A store with three entries of 1 MB, used 1, 2 and 3 days ago, and one measured record."""
    store = local_store()
    for number in range(3):
        data: Mapping[str, Any] = {"label": "fuse on tiny.onnx"} if number else {"pass": "fold", "long": "x" * 99}
        entry = store.put(key(number), "step", data, {"m": bytes([number]) * 1_000_000})
        then = time.time() - (number + 1) * 86400
        for path in (store.entries.path(key(number)), store.blob(entry.files["m"])):
            os.utime(path, (then, then))
    with TuningDatabase() as database:
        database.put("guard", "w" * 64, {"cpu": "x"}, {"keep": True}, {})
    return store


def damage(store: Store, number: int) -> None:
    path = store.blobs.path(store.entries.read(key(number)).files["m"])
    path.unlink()
    path.write_bytes(b"x" * 1_000_000)


def test_ls(tamis: Command, kept: Store) -> None:
    shown = tamis("cache", "ls")
    lines = [line.rstrip().split(maxsplit=4) for line in shown.out.splitlines() if "step" in line]
    assert [line[:3] for line in lines] == [["step", key(n)[:12], "1.0"] for n in range(3)]
    assert [line[4].split("  ")[0] for line in lines] == ["1 d ago", "2 d ago", "3 d ago"]
    assert [line[4].split("  ")[-1].strip() for line in lines] == ["pass fold", *["fuse on tiny.onnx"] * 2]
    assert "guard" in shown.out
    data = json.loads(tamis("cache", "ls", "--json").out)
    assert [(e["kind"], e["key"], e["bytes"], e["files"]) for e in data["entries"]] == [
        ("step", key(n), 1_000_000, ["m"]) for n in range(3)
    ]
    assert [r["kind"] for r in data["records"]] == ["guard"]


def test_nothing_is_kept_yet(tamis: Command) -> None:
    for command in ("ls", "verify", "prune", "path", "clear"):
        assert tamis("cache", command).status == 0
        assert isinstance(json.loads(tamis("cache", command, "--json").out), dict)


def test_verify(tamis: Command, kept: Store) -> None:
    assert tamis("cache", "verify").out == "3 entries, 3 blobs, 3.0 MB: none damaged\n"
    damage(kept, 1)
    looked = tamis("cache", "verify", "--dry-run")
    assert looked.status == 5
    assert looked.out.splitlines()[-1] == "3 entries, 3 blobs, 3.0 MB: 2 damaged, nothing removed"
    done = tamis("cache", "verify", "--json")
    assert done.status == 0
    data = json.loads(done.out)
    assert [d["reason"] for d in data["damaged"]] == ["its content has another digest", "lacks the blob of m"]
    assert data["removed"] is True
    assert kept.entries.all_keys() == [key(0), key(2)]
    assert "none damaged" in tamis("cache", "verify").out


def test_prune_to_a_size(tamis: Command, kept: Store) -> None:
    assert "2 files (1.0 MB) would be removed, 2.0 MB left" in tamis("cache", "prune", "--max-mb=3", "--dry-run").out
    assert tamis("cache", "prune", "--max-mb=3").out == "2 files (1.0 MB) removed, 2.0 MB left\n"
    assert kept.entries.all_keys() == [key(0), key(1)]
    assert json.loads(tamis("cache", "prune", "--json").out)["removed"] == 0


def test_prune_by_age(tamis: Command, kept: Store) -> None:
    assert tamis("cache", "prune", "--days", "1.5").status == 0
    assert kept.entries.all_keys() == [key(0)]
    assert tamis("cache", "prune", "--days", "-1").status == 2


def test_prune_spares_builds_that_run(tamis: Command, kept: Store) -> None:
    assert kept.get(key(0))
    out = tamis("cache", "prune", "--max-mb", "0").out
    assert "2 files (1.0 MB) stay: used in the last hour" in out
    assert kept.entries.all_keys() == [key(0)]
    assert tamis("cache", "prune", "--max-mb", "0", "--now").status == 0
    assert kept.entries.all_keys() == []


def test_export_and_import(tamis: Command, kept: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tamis("cache", "export", "all.tar").out == "3 entries, 3 blobs, 3000000 bytes written to all.tar\n"
    assert tamis("cache", "export", "one.tar", key(1)[:6]).status == 0
    assert tamis("cache", "export", "records.jsonl").out == "1 records written to records.jsonl\n"
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "other"))
    assert json.loads(tamis("cache", "import", "one.tar", "--json").out)["entries"] == 1
    assert local_store().entries.all_keys() == [key(1)]
    assert tamis("cache", "import", "all.tar").out == "3 entries, 3 blobs, 3000000 bytes added from all.tar\n"
    assert local_store().get(key(2), check=True) == kept.get(key(2))
    assert tamis("cache", "import", "records.jsonl").out == "1 records added from records.jsonl\n"


def test_damaged_entries_are_left_out(tamis: Command, kept: Store) -> None:
    damage(kept, 1)
    out = tamis("cache", "export", "all.tar").out
    assert out.splitlines() == [
        "2 entries, 2 blobs, 2000000 bytes written to all.tar",
        f"left out  {key(1)}: it is damaged, or a blob is missing",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["export", "cache.zip"], "has another suffix; expected .tar for the store or .jsonl for what was measured"),
        (["export", "a.jsonl", "1111"], "expected .tar for entries"),
        (["export", "a.tar", "ffff"], "no key begins with 'ffff'"),
        (["import", "none.tar"], "No such file"),
        (["import", "text.tar"], "is not an archive of the cache"),
    ],
)
def test_bad_arguments(tamis: Command, kept: Store, arguments: list[str], text: str) -> None:
    Path("text.tar").write_text("no archive " * 100)
    done = tamis("cache", *arguments)
    assert done.status == 2
    assert text in done.err
    assert done.err.count("\n") == 1
    assert os.listdir() == ["text.tar"]  # noqa: PTH208


def test_clear(tamis: Command, kept: Store) -> None:
    assert "6 stored files (3.0 MB)" in tamis("cache", "clear").out
    data = json.loads(tamis("cache", "ls", "--json").out)
    assert (data["entries"], data["records"]) == ([], [])


def test_a_size_that_makes_no_sense(tamis: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE_MB", "lots")
    assert "TAMIS_CACHE_MB: makes no sense; expected a whole number, found 'lots'" in tamis("cache", "ls").err
