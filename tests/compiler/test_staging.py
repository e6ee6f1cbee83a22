"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tamis.compiler.errors import OutputError, WriteError
from tamis.compiler.staging import check_output, staged, staged_file


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
