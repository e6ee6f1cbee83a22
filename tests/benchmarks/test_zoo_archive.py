"""Members come out of archives exactly, and nothing lands outside the folder."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from benchmarks.zoo.archive import ArchiveError, extract


def wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarball(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def test_takes_only_the_named_members_of_a_wheel(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "a.whl", {"p/model.onnx": b"model", "p/__init__.py": b"raise SystemExit"})
    found = extract(archive, ["p/model.onnx"], tmp_path / "out")
    assert found["p/model.onnx"].read_bytes() == b"model"
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["model.onnx"]


def test_takes_members_of_a_tarball_with_or_without_a_leading_dot(tmp_path: Path) -> None:
    archive = tarball(tmp_path / "a.tgz", {"./package/0.json": b"zero", "package/1.json": b"one"})
    found = extract(archive, ["package/0.json", "package/1.json"], tmp_path / "out")
    assert [p.read_bytes() for p in found.values()] == [b"zero", b"one"]


@pytest.mark.parametrize("member", ["../escape", "/etc/passwd", "a/../../escape", "a\\..\\b", "."])
def test_refuses_members_that_could_land_outside(tmp_path: Path, member: str) -> None:
    archive = wheel(tmp_path / "a.whl", {member: b"bad"})
    with pytest.raises(ArchiveError, match="refusing the member"):
        extract(archive, [member], tmp_path / "out")
    assert not (tmp_path / "escape").exists()


def test_refuses_links(tmp_path: Path) -> None:
    archive = tarball(tmp_path / "a.tgz", {}, {"package/model.onnx": "/etc/passwd"})
    with pytest.raises(ArchiveError, match=r"no plain file 'package/model\.onnx'"):
        extract(archive, ["package/model.onnx"], tmp_path / "out")


def test_names_a_missing_member(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "a.whl", {"p/a": b"a"})
    with pytest.raises(ArchiveError, match="no plain file 'p/b'"):
        extract(archive, ["p/a", "p/b"], tmp_path / "out")


@pytest.mark.parametrize("name", ["a.whl", "a.tgz"])
def test_reports_damaged_archives(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not an archive")
    with pytest.raises(ArchiveError, match="damaged"):
        extract(path, ["p/a"], tmp_path / "out")
