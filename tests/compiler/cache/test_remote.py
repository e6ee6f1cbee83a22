"""A remote gives what others put there, after its digests were checked; a bad or silent one fails no build."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tamis.compiler.cache import remote as module
from tamis.compiler.cache.entry import Entry, dump
from tamis.compiler.cache.remote import Remote, shown
from tamis.compiler.cache.store import Store
from tamis.compiler.errors import UsageError
from tamis.compiler.manifest import FileRecord
from tests.compiler.cache.conftest import files, key

CONTENT = {"model.onnx": b"model" * 1000, "weights/0": b"weights"}


@pytest.fixture
def memory() -> Iterator[dict[str, Any]]:
    """The files of ``memory://``, empty."""
    found: dict[str, Any] = fsspec.filesystem("memory").store
    found.clear()
    yield found
    found.clear()


def serve(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of ``tmp_path / "served"``."""
    (tmp_path / "served").mkdir()
    yield from serve(partial(Quiet, directory=str(tmp_path / "served")))


def here(tmp_path: Path, name: str, url: str, **options: Any) -> Store:
    return Store(tmp_path / name, remote=Remote(url, **options))


def contents(store: Store, entry: Entry | None) -> dict[str, bytes] | None:
    return None if entry is None else {name: store.blob(record).read_bytes() for name, record in entry.files.items()}


@pytest.mark.parametrize("url", ["memory://bucket/folder", "file://{}/remote", "file://{}/remote/"])
def test_what_one_puts_another_gets(tmp_path: Path, memory: dict[str, Any], url: str) -> None:
    url = url.format(tmp_path)
    put = here(tmp_path, "one", url).put(key(1), "step", {"n": 1}, CONTENT)
    other = here(tmp_path, "two", url)
    assert other.get(key(2)) is None
    assert other.get(key(1)) == put
    assert contents(other, put) == CONTENT
    assert Store(other.folder).get(key(1), check=True) == put, "it was not kept here"
    assert files(other.folder / "drafts") == []


def test_a_store_on_a_web_server(tmp_path: Path, served: str) -> None:
    put = Store(tmp_path / "served" / "cache").put(key(1), "step", {}, {**CONTENT, "large": b"x" * 3_000_000})
    other = here(tmp_path, "two", f"{served}/cache")
    assert other.get(key(2)) is None
    assert other.get(key(1)) == put
    before = files(tmp_path / "served")
    other.put(key(2), "step", {}, {"a": b"new"})
    assert files(tmp_path / "served") == before, "it is only read"
    assert here(tmp_path, "three", f"{served}/none").get(key(1)) is None


def test_a_blob_that_is_here_is_not_pulled_again(tmp_path: Path, memory: dict[str, Any]) -> None:
    here(tmp_path, "one", "memory://c").put(key(1), "step", {}, CONTENT)
    other = here(tmp_path, "two", "memory://c")
    other.add(CONTENT["model.onnx"])
    del memory[next(path for path, file in memory.items() if file.getvalue() == CONTENT["model.onnx"])]
    assert contents(other, other.get(key(1))) == CONTENT


def test_a_lost_blob_comes_back_from_the_remote(tmp_path: Path, memory: dict[str, Any]) -> None:
    store = here(tmp_path, "one", "memory://c")
    put = store.put(key(1), "step", {}, CONTENT)
    store.blobs.path(put.files["weights/0"]).unlink()
    assert contents(store, store.get(key(1))) == CONTENT
    damaged = store.blobs.path(put.files["weights/0"])
    damaged.unlink()
    damaged.write_bytes(b"weighty")
    again = here(tmp_path, "one", "memory://c")
    assert contents(again, again.get(key(1), check=True)) == CONTENT


def test_read_only(tmp_path: Path, memory: dict[str, Any]) -> None:
    here(tmp_path, "one", "memory://c", mode="read").put(key(1), "step", {}, CONTENT)
    assert memory == {}


def test_blobs_go_once_and_before_entries(tmp_path: Path, memory: dict[str, Any]) -> None:
    store = here(tmp_path, "one", "memory://c")
    store.put(key(1), "step", {}, CONTENT)
    assert [path.split("/")[2] for path in memory] == ["objects", "objects", "entries"]
    made = {path: file for path, file in memory.items() if "objects" in path}
    store.put(key(2), "step", {}, CONTENT)
    assert {path: file for path, file in memory.items() if "objects" in path} == made
    assert all(memory[path] is file for path, file in made.items())


def poison(memory: dict[str, Any], part: str, content: bytes | Callable[[bytes], bytes]) -> None:
    """Change the first file on the remote whose path has ``part``."""
    path = next(p for p in memory if part in p)
    fs = fsspec.filesystem("memory")
    fs.pipe_file(path, content if isinstance(content, bytes) else content(fs.cat_file(path)))


def as_attacker(change: dict[str, Any]) -> Callable[[bytes], bytes]:
    """An entry changed as ``change`` says, with the right digest."""

    def changed(text: bytes) -> bytes:
        body = {**json.loads(text), **change}
        del body["sha256"]
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return json.dumps({**body, "sha256": digest}).encode()

    return changed


BLOB = {"sha256": hashlib.sha256(b"weights").hexdigest(), "bytes": 7}


@pytest.mark.parametrize(
    ("part", "content"),
    [
        pytest.param("objects", lambda text: text[:-1] + b"X", id="flipped"),
        pytest.param("objects", lambda text: text[:-1], id="truncated"),
        pytest.param("objects", lambda text: text + b"X", id="longer"),
        pytest.param("entries", lambda text: text[:-9], id="truncated entry"),
        pytest.param("entries", b"<html>Please log in</html>", id="another page"),
        pytest.param("entries", b"[" * 200_000, id="deep"),
        pytest.param("entries", b" " * (9 << 20), id="large"),
        pytest.param("entries", as_attacker({"key": key(2)}), id="of another key"),
        pytest.param("entries", as_attacker({"files": {"../../evil": BLOB}}), id="outside"),
        pytest.param("entries", as_attacker({"files": {"/etc/evil": BLOB}}), id="absolute"),
        pytest.param("entries", as_attacker({"files": {"a": {**BLOB, "sha256": "../../../evil"}}}), id="digest"),
        pytest.param("entries", as_attacker({"files": {"a": {**BLOB, "bytes": 8}}}), id="wrong size"),
    ],
)
def test_a_poisoned_remote_is_refused(
    tmp_path: Path, memory: dict[str, Any], capsys: pytest.CaptureFixture[str], part: str, content: Any
) -> None:
    here(tmp_path, "one", "memory://c").put(key(1), "step", {}, CONTENT)
    poison(memory, part, content)
    other = here(tmp_path, "two", "memory://c")
    assert other.get(key(1)) is None
    assert other.get(key(1)) is None
    assert "was refused" in capsys.readouterr().err
    assert {p.split("/")[0] for p in files(other.folder)} <= {"objects", "written"} if other.folder.exists() else True
    assert files(tmp_path) == files(tmp_path / "one", "one/") + files(tmp_path / "two", "two/")
    assert contents(other, other.put(key(1), "step", {}, CONTENT)) == CONTENT
    mended = here(tmp_path, "three", "memory://c")
    assert contents(mended, mended.get(key(1))) == CONTENT, "the build that found the damage puts it right"


def test_more_than_the_store_may_hold_is_left(tmp_path: Path, memory: dict[str, Any]) -> None:
    here(tmp_path, "one", "memory://c").put(key(1), "step", {}, CONTENT)
    poison(memory, "entries", as_attacker({"files": {"a": {**BLOB, "bytes": 1 << 49}, "b": BLOB}}))
    other = here(tmp_path, "two", "memory://c")
    assert other.get(key(1)) is None
    assert not other.folder.exists()


class Endless(Quiet):
    """Sends bytes without end, whatever is asked for."""

    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while Endless.sent < 1 << 30:
                self.wfile.write(b"[" * 65536)
                Endless.sent += 65536
        except OSError:
            pass


@pytest.fixture
def endless() -> Iterator[str]:
    Endless.sent = 0
    yield from serve(Endless)


def test_an_endless_answer_is_cut(tmp_path: Path, endless: str) -> None:
    store = here(tmp_path, "one", endless)
    assert store.get(key(1)) is None
    with (tmp_path / "blob").open("wb") as sink:
        assert store.remote is not None
        assert not store.remote.fetch(FileRecord(sha256=key(3), bytes=100_000), sink)
    assert (tmp_path / "blob").stat().st_size == 100_001
    assert Endless.sent < 100 << 20


def test_a_dripping_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drips:
        def read(self, size: int) -> bytes:
            return b"x"

    clock = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    with pytest.raises(TimeoutError, match="61 s"):
        list(module._at_most(1 << 20, Drips()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/cache", "nonsense://host/cache", "http://user:secret@127.0.0.1:1/c"]
)
def test_an_unreachable_remote_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    store = here(tmp_path, "one", url)
    assert store.get(key(1)) is None
    store.put(key(1), "step", {}, CONTENT)
    assert store.get(key(1)) is not None
    assert here(tmp_path, "two", url).get(key(1)) is None
    warned = capsys.readouterr().err
    assert (warned.count("cannot be used"), warned.count("\n")) == (1, 1)
    assert "secret" not in warned


def test_a_remote_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = here(tmp_path, "one", f"file://{tmp_path}/file/cache")
    store.put(key(1), "step", {}, CONTENT)
    store.put(key(2), "step", {}, CONTENT)
    assert store.get(key(2)) is not None
    assert capsys.readouterr().err.count("cannot be used") == 1


def test_seals(tmp_path: Path, memory: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    url = "memory://c"
    put = here(tmp_path, "one", url, secret="ours").put(key(1), "step", {}, CONTENT)
    assert here(tmp_path, "two", url, secret="ours").get(key(1)) == put
    assert here(tmp_path, "three", url).get(key(1)) == put, "who has no secret checks no seal"
    assert here(tmp_path, "four", url, secret="other").get(key(1)) is None
    assert "without the seal" in capsys.readouterr().err
    poison(memory, "entries", lambda text: dump(put))
    assert here(tmp_path, "five", url, secret="ours").get(key(1)) is None
    poison(memory, "entries", lambda text: as_attacker({"data": {"n": 2}})(dump(put)) + b"\nseal " + b"0" * 64)
    assert here(tmp_path, "six", url, secret="ours").get(key(1)) is None


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("cache", None),
        ("/a/path", None),
        ("s3://", None),
        ("://x", None),
        ("file:///x", "append"),
        ("https://x/y", "write"),
    ],
)
def test_arguments_that_make_no_sense(url: str, mode: str | None) -> None:
    with pytest.raises(UsageError, match="TAMIS_CACHE_REMOTE"):
        Remote(url, mode=mode)


def test_urls_are_shown_without_what_is_secret() -> None:
    assert shown("https://me:word@host:8000/a?token=1#x") == "https://host:8000/a"
    assert shown("s3://bucket/folder") == "s3://bucket/folder"
