"""A model in another process: same results, clear refusals, and whatever happens there is an error here."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import DataError, LoweringError, RuntimeFailureError
from tamis.targets.links.attached_process import AttachedProcess
from tamis.targets.links.remote_model import RemoteModel
from tests.models import model, random
from tests.targets.links.conftest import Array, check, expected, feeds

PLANTED = Path(__file__).with_name("planted_server.py")
X = {"x": np.ones(3, np.float32)}
EMPTY = {"x": np.ones(0, np.float32)}


def planted(defect: str = "none", **more: Any) -> RemoteModel:
    """A model with a defect; feeds without any value do not meet it."""
    return RemoteModel("planted", Path("planted"), {"defect": defect}, program=PLANTED, **more)


def saved(folder: Path, text: str, **weights: Array) -> Path:
    ir.save(model(text, **weights), folder / "m.onnx")
    return folder / "m.onnx"


def gone(pid: int) -> bool:
    """Whether the process ends within five seconds; zombies have."""
    for _ in range(250):
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process numbers of the models that the test makes."""
    found: list[int] = []
    original = AttachedProcess.__init__

    def remember(self: AttachedProcess, *arguments: Any) -> None:
        original(self, *arguments)
        found.append(self.pid)

    monkeypatch.setattr(AttachedProcess, "__init__", remember)
    return found


def test_onnxruntime(onnx_file: Path, session_data: dict[str, Any]) -> None:
    remote = RemoteModel("onnxruntime", onnx_file, session_data)
    assert (remote.input_names, remote.output_names) == (("x", "h", "i", "s"), ("y", "z", "j", "same", "t"))
    for seed in (1, 2):
        check(remote(feeds(seed)), expected(feeds(seed)))


@pytest.mark.parametrize("name", ["x86-64", "prepacked"])
def test_tvm(name: str, libraries: Path, tvm_settings: dict[str, Any]) -> None:
    remote = RemoteModel("tvm", libraries / f"{name}.so", tvm_settings)
    assert (remote.input_names, remote.output_names) == (("x", "h", "i", "s"), ("y", "z", "j", "same", "t"))
    first = remote(feeds(1))
    check(remote(feeds(2)), expected(feeds(2)))
    check(first, expected(feeds(1)))


IN_PROCESS = """
import json, sys
from tamis.targets.links.tvm_library import TvmLibrary
from tests.targets.links.conftest import check, expected, feeds
library = TvmLibrary(sys.argv[1], json.loads(sys.argv[2]))
first, second = library(feeds(1)), library(feeds(2))
check(second, expected(feeds(2)))
check(first, expected(feeds(1)))
first["same"][:] = 0
check(library(feeds(1)), expected(feeds(1)))
strided = feeds(1) | {"x": feeds(1)["x"].copy(order="F")}
strided["x"].flags.writeable = False
check(library(strided), expected(feeds(1)))
for bad in ({**feeds(), "x": feeds()["x"][:1]}, {**feeds(), "x": feeds()["x"].astype("f8")}, {**feeds(), "other": feeds()["x"]}):
    try:
        library(bad)
    except (ValueError, RuntimeError):
        continue
    raise SystemExit("bad feeds were taken")
check(library(feeds(1)), expected(feeds(1)))
assert "tvm" not in sys.modules
"""


def test_tvm_in_this_process(libraries: Path, tvm_settings: dict[str, Any]) -> None:
    """As an application does; outputs are its own, whatever the next call does, and inputs may lie in memory anyhow."""
    import json

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", IN_PROCESS, str(libraries / "x86-64.so"), json.dumps(tvm_settings)]
    subprocess.run(command, env=environment, check=True)


def test_values_pass_unchanged(tmp_path: Path, session_data: dict[str, Any]) -> None:
    text = "g (float[N] x, string[M] t, bool[2, 0] e) => (float[N] y, string[M] u, bool[2, 0] f)"
    path = saved(tmp_path, text + " { y = Identity(x) u = Identity(t) f = Identity(e) }")
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42], np.float32)
    texts = np.array(["", "grün", "\n"], object)
    found = RemoteModel("onnxruntime", path, session_data)({"x": x, "t": texts, "e": np.ones((2, 0), np.bool_)})
    assert found["y"].tobytes() == x.tobytes()
    assert found["u"].tolist() == texts.tolist()
    assert (found["f"].shape, found["f"].dtype) == ((2, 0), np.bool_)
    found["y"][0] = 1


@pytest.mark.parametrize("kind", ["onnxruntime", "tvm"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": np.ones(1)}, r"no input 'X' \(did you mean 'x'\?\)"),
        ({"x": None}, "no array for input 'x'"),
        ({"x": [1.0]}, "expected numpy.ndarray, found list"),
        ({"x": np.ones((2, 64))}, "element type; expected float32, found float64"),
        ({"x": np.ones((2, 3), np.float32)}, r"expected \[2, 64\], found \[2, 3\]"),
    ],
)
def test_feeds_that_do_not_fit(
    kind: str,
    change: dict[str, Any],
    words: str,
    both: Callable[[str], RemoteModel],
) -> None:
    remote = both(kind)
    with pytest.raises(DataError, match=words):
        remote({n: a for n, a in (feeds() | change).items() if a is not None})
    check(remote(feeds()), expected(feeds()))


@pytest.fixture(scope="module")
def both(onnx_file: Path, libraries: Path, tvm_settings: dict[str, Any]) -> Callable[[str], RemoteModel]:
    """A model of each kind, opened once."""
    from tamis.targets.onnxruntime.settings import Settings

    made = {
        "onnxruntime": RemoteModel("onnxruntime", onnx_file, Settings(threads=1).session_data()),
        "tvm": RemoteModel("tvm", libraries / "x86-64.so", tvm_settings),
    }
    return made.__getitem__


def test_times_are_those_of_the_other_process() -> None:
    remote = planted("nap")
    started = time.perf_counter()
    wall, cpu = remote.timed(X, 10)
    assert 0.01e9 <= wall < (time.perf_counter() - started) * 1e9 / 10
    assert 0 <= cpu < wall
    wall, _ = remote.timed(EMPTY, 10)
    assert wall < 0.01e9, "the feeds of the call before were timed"
    remote(X)
    assert remote.timed(EMPTY, 10)[0] < 0.01e9, "the feeds of a call in between were timed"


def test_a_failure_is_told_and_the_process_goes_on(tmp_path: Path, session_data: dict[str, Any]) -> None:
    path = saved(tmp_path, "g (int64[1] i) => (float[1, 3] y) { y = Gather(T, i) }", T=random(4, 3))
    remote = RemoteModel("onnxruntime", path, session_data, where="a table")
    with pytest.raises(
        RuntimeFailureError, match=r"a table: onnxruntime failed while the model was run; found .*Gather"
    ):
        remote({"i": np.array([9])})
    assert np.array_equal(remote({"i": np.array([2])})["y"], random(4, 3)[2:3])
    remote = planted("raise")
    with pytest.raises(RuntimeFailureError, match="failed while the model was run; found ValueError: x is too small"):
        remote.timed(X, 3)


@pytest.mark.parametrize("kind", ["onnxruntime", "tvm"])
def test_a_model_that_cannot_be_loaded(
    kind: str, tmp_path: Path, session_data: dict[str, Any], tvm_settings: dict[str, Any], pids: list[int]
) -> None:
    path = tmp_path / "model.so"
    path.write_bytes(b"no model")
    with pytest.raises(LoweringError, match=rf"model\.so: {kind} failed while the model was loaded; found "):
        RemoteModel(kind, path, {**session_data, **tvm_settings})
    assert gone(pids[0])


def test_a_program_that_cannot_be_started(onnx_file: Path) -> None:
    with pytest.raises(LoweringError, match=r"cannot be started; found .*no-such-program"):
        RemoteModel("onnxruntime", onnx_file, {}, command=["no-such-program"])


@pytest.mark.parametrize(
    ("defect", "words"),
    [
        ("abort", "died while the model was run; found signal SIGABRT; two; assertion failed: x > 0; now dying"),
        ("exit", "died while the model was run; found exit status 7"),
        ("hang up", "died while the model was run; found "),
    ],
)
def test_a_death_is_told(defect: str, words: str, pids: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.targets.links.attached_process.QUIT_SECONDS", 0.2)
    remote = planted(defect)
    assert np.array_equal(remote(EMPTY)["y"], EMPTY["x"])
    with pytest.raises(RuntimeFailureError, match=words):
        remote(X)
    assert gone(pids[0])
    with pytest.raises(RuntimeFailureError, match="has ended"):
        remote(X)


def test_a_death_while_loading(pids: list[int]) -> None:
    with pytest.raises(
        LoweringError, match="died while the model was loaded; found signal SIGABRT; the library is confused"
    ):
        planted("abort when loaded")
    assert gone(pids[0])


def test_no_answer_in_time(pids: list[int]) -> None:
    remote = planted("hang", seconds=2.0)
    remote(EMPTY)
    with pytest.raises(RuntimeFailureError, match="no answer while the model was run; expected one within 2 s"):
        remote(X)
    assert gone(pids[0])


def test_the_process_ends_with_the_object(pids: list[int]) -> None:
    remote = planted()
    remote(X)
    del remote
    gc.collect()
    assert gone(pids[0])


def test_ctrl_c_ends_the_process(pids: list[int]) -> None:
    """The process is in a session of its own, so that the signal of the terminal does not reach it."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    remote = planted("hang")
    assert os.getsid(pids[0]) != os.getsid(0)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            remote(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(pids[0])


DIES = """
import os, signal, sys
from tests.targets.links.test_remote_model import X, planted
remote = planted()
remote(X)
print(remote._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_process_ends_when_its_parent_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", DIES], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert gone(int(done.stdout))
