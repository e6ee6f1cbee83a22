"""A real scheduler with two workers, one of which is killed in the middle of a job: the job is done again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from tamis.compiler.building import run_dask
from tamis.compiler.building.job import Job
from tamis.compiler.building.run_build import run_build
from tamis.compiler.building.run_dask import on_dask
from tamis.compiler.errors import RuntimeFailureError, UsageError

SECONDS = 180
SOURCES = Path(__file__).parents[3] / "src"


def eventually(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


class Cluster:
    """``dask scheduler`` and ``dask worker`` processes on this machine, each worker without a nanny."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCES), str(Path(__file__).parent)))}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._run("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        eventually(lambda: self._address() is not None)
        self.address = self._address() or ""

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", "dask", *arguments]
            made = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log)
        self.processes.append(made)
        return made

    def _address(self) -> str | None:
        found = re.search(r"tcp://127\.0\.0\.1:\d+", (self.folder / "scheduler.log").read_text())
        return found and found.group()

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        folder = ("--local-directory", str(self.folder / name))
        limits = ("--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--host", "127.0.0.1")
        return self._run(name, "worker", self.address, *limits, *folder, "--name", name)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(SECONDS)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


def job(folder: Path, name: str) -> Job:
    return Job(folder / f"{name}.onnx", "r", (name, "r", "host"), folder / name / "out", folder, {}, {}, 1)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_killed_worker_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    workers = {w.pid: w for w in (cluster.worker("one"), cluster.worker("two"))}
    started = tmp_path / "slow" / "started"
    killed: list[int] = []

    def kill() -> None:
        eventually(lambda: started.exists() and started.read_text().endswith("\n"))
        worker = parent_of(int(started.read_text()))
        (tmp_path / "go").touch()
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    jobs = [job(tmp_path, name) for name in ("slow", "a", "b")]
    with on_dask(cluster.address, 1, "test", "toy_job") as crew:
        results = run_build(jobs, nullcontext(crew), keep_going=True, note=lambda f, t: None)
    thread.join(SECONDS)
    assert killed and killed[0] in workers
    assert workers[killed[0]].wait(SECONDS) == -signal.SIGKILL
    assert [r.verdict for r in results] == ["built"] * 3
    first, second = map(int, started.read_text().split())
    eventually(lambda: not alive(first))
    assert first != second, "the job was done again"


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_what_is_no_scheduler() -> None:
    with pytest.raises(UsageError, match="expected tcp://HOST:PORT or local"), on_dask("localhost", 1, "test"):
        pass


def test_no_scheduler_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.compiler.building.run_dask.CONNECT_SECONDS", 0.5)
    with pytest.raises(RuntimeFailureError, match="cannot be reached"), on_dask("tcp://127.0.0.1:9", 1, "test"):
        pass


class Alone:
    """A client whose only worker is this process."""

    def run(self, function: Callable[[str], None], build: str) -> None:
        function(build)

    def get_executor(self, pure: bool) -> None:
        assert not pure


@pytest.mark.parametrize("stops", [0, 2])
def test_a_build_that_is_interrupted_leaves_nothing_on_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: int
) -> None:
    monkeypatch.setattr(run_dask, "_client", lambda scheduler, jobs: nullcontext(Alone()))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("tamis.compiler.building.quiet.LONGEST", 1000)
    with pytest.raises(KeyboardInterrupt), on_dask("tcp://here", 1, "test") as crew:
        for _ in range(stops):
            crew.stop()
        raise KeyboardInterrupt
    assert not run_dask._workshops
    assert not list(tmp_path.iterdir())
