"""Readers with a fault each, which a batch must find: ``python -m tests.fuzz.planted FOLDER`` prints a line of JSON for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

from tests.fuzz.batch import run
from tests.fuzz.readers import READERS, Reader

CASE_SECONDS = 0.2


def crash(path: Path) -> None:
    os.kill(os.getpid(), 11)


def swallow(path: Path) -> None:
    raise KeyError(path.name)


def escape(path: Path) -> None:
    (path.parents[2] / "escaped").write_text("")


def start(path: Path) -> None:
    subprocess.run(["true"], check=False)


def leave(path: Path) -> None:
    tempfile.mkdtemp()


def devour(path: Path) -> None:
    bytearray(1 << 40)


def spin(path: Path) -> None:
    while True:
        pass


def accept(path: Path) -> None:
    pass


PLANTED: dict[Callable[[Path], None], str] = {
    crash: "status -11",
    swallow: "KeyError",
    escape: "touched open",
    start: "touched subprocess",
    leave: "left in the folder",
    devour: "MemoryError",
    spin: "more than 0.2 s",
    accept: "it was accepted",
}
"""Reader -> part of what must be said about it."""


def main() -> None:
    for fault in PLANTED:
        planted = {**READERS, "csv": Reader("a.csv", fault, quick=3)}
        with patch("tests.fuzz.batch.READERS", planted), patch("tests.fuzz.watch.CASE_SECONDS", CASE_SECONDS):
            found = run("csv", Path(sys.argv[1]) / fault.__name__, 0, 0)
        sys.stdout.write(json.dumps({**asdict(found), "reader": fault.__name__}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
