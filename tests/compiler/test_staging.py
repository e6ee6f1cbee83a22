"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tamis.compiler.errors import OutputError, WriteError
from tamis.compiler.staging import check_output, staged, staged_file, sweep


def never(path: Path) -> bool:
    return False


def always(path: Path) -> bool:
    return True


def test_a_folder_appears_with_its_files(tmp_path: Path) -> None:
    with staged(tmp_path / "out", replaceable=never) as staging:
        (staging.folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_path_may_change_until_the_end(tmp_path: Path) -> None:
    with staged(tmp_path / "out", replaceable=never) as staging:
        (staging.folder / "a").write_text("1")
        staging.out = tmp_path / "aside"
    assert [p.name for p in tmp_path.iterdir()] == ["aside"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_whatever_ends_the_work_leaves_the_old_output(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(type(error)), staged(tmp_path / "out", replaceable=always) as staging:
        (staging.folder / "a").write_text("1")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["old"]


def test_an_old_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with staged(tmp_path / "out", replaceable=always) as staging:
        (staging.folder / "new").write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]


def test_foreign_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match="not made by tamis"), staged(tmp_path / "out", replaceable=never):
        pytest.fail("the body must not run")


def test_a_full_disk_is_a_write_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No space left"), staged(tmp_path / "out", replaceable=never) as staging:
        (staging.folder / "a").write_text("1")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is not a folder"):
        check_output(tmp_path / "file" / "out", never)


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="permission denied"):
        check_output(tmp_path / "out", never)


def test_a_single_file_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "y.npz"
    for text in ("1", "2"):
        with staged_file(out) as path:
            path.write_text(text)
    assert out.read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["y.npz"]


def test_a_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "y.npz").mkdir()
    (tmp_path / "y.npz" / "a").write_text("")
    with pytest.raises(OutputError), staged_file(tmp_path / "y.npz"):
        pytest.fail("the body must not run")


def test_a_reader_never_finds_the_output_missing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out, replaceable=always) as staging:
        (staging.folder / "number").write_text("0")
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add("there" if out.exists() else "missing")

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(50):
        with staged(out, replaceable=always) as staging:
            (staging.folder / "number").write_text(str(i))
    done.set()
    reader.join()
    assert seen == {"there"}


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    dead = tmp_path / ".out.tamis-dead"
    foreign = tmp_path / ".out.backup"
    for folder in (dead, foreign):
        folder.mkdir()
        (folder / "file").write_text("1")
    with staged(tmp_path / "out", replaceable=never) as living:
        assert not dead.exists()
        with staged(tmp_path / "out", replaceable=never) as second:
            assert living.folder.exists()
            (second.folder / "a").write_text("1")
    assert foreign.exists()


def test_where_paths_cannot_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.compiler.staging.exchange", lambda first, second: False)
    out = tmp_path / "out"
    for text in ("old", "new"):
        with staged(out, replaceable=always) as staging:
            (staging.folder / "a").write_text(text)
    assert (out / "a").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    aside = tmp_path / ".out.tamis-old-killed"
    aside.mkdir()
    out.rename(aside / "out")
    with staged(out, replaceable=always):
        assert (out / "a").read_text() == "new", "what a killed process had moved aside is back"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "old").write_text("old")
    (tmp_path / "out").symlink_to("v1")
    with staged(tmp_path / "out", replaceable=always) as staging:
        (staging.folder / "a").write_text("1")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "v1"]
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert (tmp_path / "v1" / "old").read_text() == "old"


def test_a_link_that_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    for name, to in (("a", "v1"), ("b", "nowhere")):
        (tmp_path / f".out.tamis-{name}").symlink_to(to)
    sweep(tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["v1"]


def test_an_output_that_appears_in_the_meantime_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may publish at the same path between any look at it and the move."""
    rename = Path.rename

    def late(source: Path, to: Path) -> Path:
        if to == tmp_path / "out" and not to.exists():
            to.mkdir()
            (to / "theirs").write_text("1")
        return rename(source, to)

    monkeypatch.setattr(Path, "rename", late)
    monkeypatch.setattr(Path, "replace", late)
    with staged(tmp_path / "out", replaceable=always) as staging:
        (staging.folder / "mine").write_text("1")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp
    made: list[str] = []

    def swept_once(**named: Any) -> str:
        made.append(make(**named))
        if len(made) == 1:
            sweep(tmp_path / "out")
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept_once)
    with staged(tmp_path / "out", replaceable=always) as staging:
        (staging.folder / "a").write_text("1")
    assert len(made) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
