"""The arm64 system: made once, whole or not at all, of the versions that are installed here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tamis.compiler.errors import OutputError, TargetUnavailableError
from tamis.targets.links import arm64_root, debian_packages
from tamis.targets.links.arm64_root import made_once, python
from tamis.targets.links.debian_packages import DebianPackages, unpack


def quiet(fraction: float, note: str) -> None:
    """No progress."""


def test_it_holds_what_is_installed_here(emulated: Callable[[str | None], dict[str, Any]]) -> None:
    root = arm64_root.arm64_root(quiet)
    assert arm64_root.unavailable() is None
    assert python(root).is_file()
    for name in ("numpy", "onnxruntime", "apache-tvm-ffi", "apache-tvm", "tornado"):
        (found,) = (root / arm64_root.SITE).glob(f"{name.replace('-', '_')}-*.dist-info")
        assert found.name == f"{name.replace('-', '_')}-{metadata.version(name)}.dist-info"
    assert (root / arm64_root.SITE / "tvm" / "lib" / "libtvm_runtime.so").is_file()


def test_other_versions_make_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = arm64_root._path()
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0" if name == "numpy" else version(name))
    assert arm64_root._path() != before


def test_it_cannot_be_made_without_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetUnavailableError, match="cannot be made; found apt-get and dpkg-deb cannot be found; use"):
        arm64_root.arm64_root(quiet)
    assert [p.suffix for p in (tmp_path / "cache/emulation").iterdir()] == [".lock"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "made"
    with pytest.raises(RuntimeError), made_once(path) as staging:
        assert staging is not None
        (staging / "half").touch()
        raise RuntimeError
    assert [p.name for p in path.parent.iterdir()] == ["made.lock"]
    (path.parent / ".made.left").mkdir()  # as by a process that was killed
    with made_once(path) as staging:
        assert staging is not None
        assert not path.exists()
        (staging / "whole").touch()
    assert sorted(p.name for p in path.parent.iterdir()) == ["made", "made.lock"]
    with made_once(path) as staging:
        assert staging is None
    assert (path / "whole").exists()


def test_who_comes_second_waits(tmp_path: Path) -> None:
    path, made = tmp_path / "made", []

    def make() -> None:
        with made_once(path) as staging:
            if staging is not None:
                time.sleep(0.2)
            made.append((staging is not None, path.exists()))

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [(False, True), (False, True), (True, False)]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), made_once(tmp_path / "file" / "made"):
        pass


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an apt-get that notes what it is called with, and no network: it warns, then finds no package."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    note = f'echo "$@" >>"{tmp_path}/calls"'
    tool(
        folder,
        "apt-get",
        f'{note}\ncase "$*" in *update) echo "W: no network" >&2;; *) echo "E: no package" >&2; exit 100;; esac',
    )
    tool(folder, "dpkg-deb", "echo damaged >&2; exit 2")
    return folder


def test_no_network(tools: Path, tmp_path: Path) -> None:
    packages = DebianPackages(tmp_path / "scratch", "arm64")
    with pytest.raises(
        TargetUnavailableError, match="apt-get failed; found W: no network E: no package; see to the network"
    ):
        packages.with_dependencies(["python3"])
    with pytest.raises(TargetUnavailableError, match="no package"):
        packages.alone("python3")
    with pytest.raises(TargetUnavailableError, match="dpkg-deb failed; found damaged"):
        unpack(tmp_path / "x.deb", tmp_path)


@pytest.mark.parametrize(
    ("text", "arch", "release"),
    [
        ('ID=ubuntu\nVERSION_CODENAME="noble"\n', "arm64", "noble"),
        ("ID=mint\nID_LIKE='ubuntu debian'\nVERSION_CODENAME=xia\nUBUNTU_CODENAME=noble\n", "arm64", "noble"),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", "amd64", None),
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "arm64", None),
    ],
)
def test_where_packages_come_from(text: str, arch: str, release: str | None, tools: Path, tmp_path: Path) -> None:
    """Debian has all architectures in one place, Ubuntu has not."""
    (tmp_path / "os-release").write_text(text, encoding="ascii")
    DebianPackages(tmp_path / "scratch", arch, tmp_path / "os-release")
    (call,) = (tmp_path / "calls").read_text(encoding="ascii").splitlines()
    assert f"APT::Architecture={arch}" in call
    assert ("sourceparts=-" in call) == (release is not None)
    if release is not None:
        sources = (tmp_path / "scratch/sources.list").read_text(encoding="ascii")
        assert f"ubuntu-ports {release} main universe\n" in sources
        assert f"ubuntu-ports {release}-updates main universe\n" in sources


def test_the_name_of_the_release(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_ID="12"\n', encoding="ascii")
    assert debian_packages.release_name(tmp_path / "os-release") == "debian 12"
    assert debian_packages.release_name(tmp_path / "missing") == "unknown"
