"""Many processes on one store, and processes that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tamis.compiler.cache.check import check_store
from tamis.compiler.cache.draft import sweep
from tamis.compiler.cache.store import Store
from tests.compiler.cache import store_child
from tests.compiler.cache.conftest import files, key

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def command(what: str, folder: Path) -> list[str]:
    return [sys.executable, store_child.__file__, what, str(folder)]


@pytest.mark.parametrize("what", ["share", "evict"])
def test_sixteen_processes(store: Store, what: str) -> None:
    done = subprocess.run(
        command(what, store.folder), env=ENVIRONMENT, timeout=120, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(store.folder / "drafts") == []
    assert {p.split("/")[0] for p in files(store.folder)} <= {"entries", "objects", "written"}
    found = check_store(store)
    assert [d for d in found.damaged if what == "share" or not d.reason.startswith("lacks")] == []
    if what == "share":
        assert (found.entries, found.blobs) == (store_child.KEYS, store_child.KEYS + 1)
    for number in range(store_child.KEYS):
        entry = store.get(store_child.key(number), check=True)
        assert entry is not None or what == "evict"
        if entry is not None:
            contents = {name: store.blob(record).read_bytes() for name, record in entry.files.items()}
            assert contents == store_child.content(number)


@pytest.fixture
def halfway(store: Store) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(command("halfway", store.folder), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        yield child
    finally:
        child.kill()
        child.communicate(timeout=20)


def test_a_killed_put_leaves_nothing(store: Store, halfway: subprocess.Popen[str]) -> None:
    assert len(files(store.folder)) == 1
    assert sweep(store.folder) == 0, "the draft of a live process was taken"
    halfway.kill()
    halfway.wait(timeout=20)
    assert store.get(key(1)) is None
    store.put(key(1), "step", {}, {"a": b"x" * 200_000})
    assert files(store.folder / "drafts") == []
    assert store.get(key(1), check=True) is not None
    assert check_store(store).damaged == ()
