"""Processes that the tests of the store start: ``share`` and ``evict`` fork sixteen that fight, ``halfway`` waits to be killed.

::

    python store_child.py share|evict FOLDER
    python store_child.py halfway FOLDER
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

from tamis.compiler.cache.blobs import Blobs
from tamis.compiler.cache.evict import evict
from tamis.compiler.cache.store import Store
from tamis.compiler.manifest import FileRecord

PROCESSES = 16
KEYS = 6
ROUNDS = 12
SECONDS = 60


def content(number: int) -> dict[str, bytes]:
    """The files of a key; one of them is the same for all keys."""
    return {"own": bytes([number]) * (20_000 + number), "all": b"all" * 10_000}


def key(number: int) -> str:
    """The key of a number."""
    return f"{number:064x}"


def work(folder: Path, seed: int, evicts: bool) -> int:
    """Put and get at random; returns how often the wrong thing came back."""
    draw = random.Random(seed)
    store, wrong = Store(folder, limit=200_000 if evicts else 10**9), 0
    for _ in range(ROUNDS):
        number = draw.randrange(KEYS)
        if evicts and draw.random() < 0.3:
            evict(folder, limit=60_000, grace=0.0)
        elif (entry := store.get(key(number))) is None:
            store.put(key(number), "step", {"n": number}, content(number))
        else:
            wrong += entry.data != {"n": number}
            for name, expected in content(number).items():
                try:
                    wrong += store.blob(entry.files[name]).read_bytes() != expected
                except (LookupError, FileNotFoundError):
                    wrong += not evicts
    return wrong


def fight(folder: Path, evicts: bool) -> int:
    """Fork; returns how many of the children did not end well."""
    children = []
    for seed in range(PROCESSES):
        if (child := os.fork()) == 0:
            signal.alarm(SECONDS)
            os._exit(min(work(folder, seed, evicts), 1))
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def halfway(folder: Path) -> None:
    """Write half of a blob, say so, and wait."""

    def fill(sink: BinaryIO) -> FileRecord:
        sink.write(b"x" * 100_000)
        sink.flush()
        sys.stdout.write("half\n")
        sys.stdout.flush()
        time.sleep(SECONDS)
        raise TimeoutError

    Blobs(folder).write(fill)


if __name__ == "__main__":
    if sys.argv[1] == "halfway":
        halfway(Path(sys.argv[2]))
    else:
        sys.exit(fight(Path(sys.argv[2]), sys.argv[1] == "evict"))
