"""While one compile measures, the others stand still; they go on however the measurement ends."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tamis.compiler.alone import LOCK_VARIABLE
from tamis.compiler.building import quiet as module
from tamis.compiler.building.quiet import Quiet

SECONDS = 120
SPIN = """
import mmap, os, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
    number, parent = 0, os.getppid()
    while os.getppid() == parent:
        number += 1
        shared[:] = number.to_bytes(8, "little")
"""
SPIN_OUTSIDE = f"""
import subprocess, sys
spin = subprocess.Popen([sys.executable, "-c", {SPIN!r}, *sys.argv[1:]], start_new_session=True, stdin=subprocess.PIPE)
try:
    spin.wait()
except KeyboardInterrupt:
    spin.kill()
"""
MEASURE = """
import sys, time
from pathlib import Path
from tamis.compiler.alone import alone
counter, folder = Path(sys.argv[1]), Path(sys.argv[2])
with alone():
    before = counter.read_bytes()
    (folder / "in").touch()
    time.sleep(0.5)
    (folder / "same").write_text(str(counter.read_bytes() == before))
    while (folder / "stay").exists():
        time.sleep(0.02)
(folder / "out").touch()
"""
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('on', flush=True)\ntime.sleep(600)\n"
)


def eventually(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


class Place:
    """Starts children and watches the counter of the spinning one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.counter = folder, folder / "counter"
        self.counter.write_bytes(bytes(8))
        self.said: list[str | None] = []
        self.quiet = Quiet(self.said.append)
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, script: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, str(self.counter), str(self.folder)]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.children[name] = self.quiet.start(name, command, dict(os.environ), self.folder, log, log)
        return self.children[name]

    def ended(self, name: str) -> int:
        child = self.children[name]
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.quiet.ended(name)
        return child.wait(SECONDS)

    def count(self) -> int:
        with self.counter.open("rb") as file, mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ) as shared:
            return int.from_bytes(shared[:], "little")

    def moves(self) -> bool:
        before = self.count()
        time.sleep(0.05)
        return self.count() != before


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "src"))
    made = Place(tmp_path)
    yield made
    for name, child in made.children.items():
        if child.returncode is None:
            child.kill()
            made.ended(name)
    made.quiet.close()
    assert not made.quiet._folder.exists()


@pytest.mark.parametrize("script", [SPIN, SPIN_OUTSIDE], ids=["itself", "in a session of its own"])
def test_a_sibling_makes_no_progress_during_a_measurement(place: Place, script: str) -> None:
    place.start("spin", script)
    eventually(place.moves)
    place.start("measure", MEASURE)
    assert place.ended("measure") == 0
    assert (place.folder / "same").read_text() == "True"
    eventually(place.moves)
    assert place.said == ["measure", None]


def test_killing_the_measurer_lets_the_others_go_on(place: Place) -> None:
    (place.folder / "stay").touch()
    place.start("spin", SPIN)
    eventually(place.moves)
    measurer = place.start("measure", MEASURE)
    eventually((place.folder / "same").exists)
    assert not place.moves()
    os.kill(measurer.pid, signal.SIGKILL)
    eventually(place.moves)
    assert place.ended("measure") == -signal.SIGKILL
    assert not (place.folder / "out").exists()


def test_two_measure_one_after_the_other(place: Place) -> None:
    for name in ("a", "b"):
        (place.folder / name).mkdir()
        script = MEASURE.replace("Path(sys.argv[2])", f"Path(sys.argv[2]) / {name!r}")
        place.start(name, script)
    assert [place.ended(name) for name in ("a", "b")] == [0, 0]
    assert place.said in (["a", None, "b", None], ["b", None, "a", None])


def test_stop_kills_what_does_not_listen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.2)
    place.start("stubborn", STUBBORN)
    eventually(lambda: b"on" in (place.folder / "stubborn.log").read_bytes())
    place.quiet.stop()
    assert place.ended("stubborn") == -signal.SIGKILL
    with pytest.raises(module.Stopped):
        place.start("late", SPIN)


def test_a_long_path_of_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has room for about a hundred bytes."""
    folder = tmp_path / ("t" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    Quiet().close()
