"""One measurement at a time on a machine: waited for, said so, and freed by the death of whoever has it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tamis.compiler import alone as module
from tamis.compiler.alone import LOCK_VARIABLE, WAITING, alone

HOLD = "from tamis.compiler.alone import alone\nwith alone():\n    print('in', flush=True)\n    input()\n"
SECONDS = 120


@pytest.fixture(autouse=True)
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lock"
    monkeypatch.setenv(LOCK_VARIABLE, str(path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    return path


def test_a_waiting_process_says_so_and_goes_on_when_the_holder_is_killed() -> None:
    said: list[str] = []
    waits, entered = threading.Event(), threading.Event()

    def progress(fraction: float, text: str) -> None:
        said.append(text)
        waits.set()

    def measure() -> None:
        with alone(progress):
            entered.set()

    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"in\n"
        thread = threading.Thread(target=measure, daemon=True)
        thread.start()
        assert waits.wait(SECONDS) and said == [WAITING]
        assert not entered.wait(0.2)
        holder.kill()
        assert entered.wait(SECONDS)
        thread.join(SECONDS)


def test_a_process_that_is_alone_does_not_wait_for_itself() -> None:
    said: list[str] = []
    with alone(), alone(lambda fraction, text: said.append(text)):
        assert module._depth == 2
    assert module._depth == 0 and said == []


def test_an_error_frees_the_machine(lock_file: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone():
        1 / 0  # noqa: B018
    assert module._held == (None, None)
    assert lock_file.is_file()


@pytest.mark.parametrize("place", ["off", "missing/lock"])
def test_without_a_lock_file_nothing_is_waited_for(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOCK_VARIABLE, place if place == "off" else str(tmp_path / place))
    with alone():
        assert module._held == (None, None)


def test_a_link_is_not_followed(tmp_path: Path, lock_file: Path) -> None:
    (tmp_path / "other").touch()
    lock_file.symlink_to(tmp_path / "other")
    with alone():
        assert module._held == (None, None)


def test_a_build_that_is_gone_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.SOCKET_VARIABLE, str(tmp_path / "gone"))
    with alone():
        assert module._held[1] is None
