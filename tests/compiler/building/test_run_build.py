"""Jobs as processes of this machine: crashes, limits, failing fast, interrupts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from tamis.compiler.building.job import NOT_RUN, Job, Result
from tamis.compiler.building.junit import junit
from tamis.compiler.building.room import Room
from tamis.compiler.building.run_build import here, run_build
from tamis.compiler.building.run_job import Workshop

SECONDS = 120


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def job(folder: Path, name: str, memory: int = 1) -> Job:
    return Job(folder / f"{name}.onnx", "r", (name, "r", "host"), folder / name / "out", folder, {}, {}, memory)


def built(jobs: list[Job], *, count: int = 1, keep_going: bool = True) -> list[Result]:
    return run_build(jobs, here(count, memory=10, module="toy_job"), keep_going=keep_going, note=lambda f, t: None)


def eventually(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_crash_takes_no_other_with_it(tmp_path: Path) -> None:
    names = ("crash", "good", "missed", "bad")
    jobs = [job(tmp_path, name) for name in names]
    results = built(jobs, count=2)
    assert [r.verdict for r in results] == ["failed", "built", "missed budget", "failed"]
    assert [r.exit_code for r in results] == [5, 0, 1, 3]
    assert "SIGKILL" in (results[0].reason or "") and "memory" in (results[0].reason or "")
    assert results[2].reason == "T400: too <slow>; wait"
    assert all(r.seconds > 0 and (r.peak_bytes or 0) > 1 << 20 for r in results)
    suite = xml.fromstring(junit(jobs, [*results[:3], NOT_RUN]))
    assert [suite.get(k) for k in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]
    kinds = [[child.tag for child in case] for case in suite.iter("testcase")]
    assert kinds == [["error"], [], ["failure"], ["skipped"]]
    failure = suite.find(".//failure")
    assert failure is not None and failure.get("message") == "T400: too <slow>; wait"


def test_the_first_failure_ends_the_others(tmp_path: Path) -> None:
    slow = job(tmp_path, "slow")
    results = built([slow, job(tmp_path, "bad"), job(tmp_path, "good")], count=2, keep_going=False)
    assert [r.verdict for r in results[:2]] == ["not run", "failed"]
    started = slow.out.parent / "started"
    assert not started.exists() or not alive(int(started.read_text()))


def test_an_interrupt_ends_all_children(tmp_path: Path) -> None:
    slow, out = job(tmp_path, "slow"), tmp_path / "slow"

    def interrupt() -> None:
        eventually(lambda: (out / "started").exists() and bool((out / "started").read_text()))
        (out / ".out.tamis-left").mkdir()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        built([slow, job(tmp_path, "good")])
    assert not alive(int((out / "started").read_text()))
    assert not (out / ".out.tamis-left").exists(), "staging of a killed compile is removed"
    assert not (tmp_path / "good").exists()


def test_what_does_not_fit_waits() -> None:
    room, inside, seen = Room(10), list[int](), list[int]()
    lock = threading.Lock()

    def work(size: int) -> None:
        with room.taken(size):
            with lock:
                inside.append(size)
                seen.append(sum(inside) if len(inside) > 1 else 0)
            time.sleep(0.005)
            with lock:
                inside.remove(size)

    threads = [threading.Thread(target=work, args=(size,), daemon=True) for size in (4, 6, 7, 3, 40, 5, 9, 1) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert len(seen) == len(threads) and max(seen) <= 10


def test_a_workshop_that_was_stopped_starts_nothing(tmp_path: Path) -> None:
    with here(1, memory=10, module="toy_job") as crew:
        crew.stop()
        assert crew.run(job(tmp_path, "good")) == NOT_RUN
    assert Workshop.__dataclass_fields__["module"].default == "tamis.compiler.building.compile_child"
