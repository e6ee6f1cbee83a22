"""The cache holds verified files only; every failure is a FetchError with its cause."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.zoo.fetch import FetchError, Package, cache_root, listing_digest, sha256

MEMBERS = {"p/a.bin": b"alpha", "p/b.bin": b"beta"}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in MEMBERS.items()}
PACKAGE = Package("pypi", "example", "1.0")


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the client by a copy of a local wheel; the list grows by one entry a download."""
    wheel, log = tmp_path / "example-1.0-py3-none-any.whl", tmp_path / "log"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    seen: list[str] = []

    def command(package: Package) -> list[str]:
        seen.append(package.spec)
        return [sys.executable, "-c", f"import shutil; shutil.copy({str(wheel)!r}, '.'); open({str(log)!r}, 'a')"]

    monkeypatch.setattr(Package, "_command", command)
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path / "zoo"))
    return seen


def cached() -> list[str]:
    return sorted(p.name for p in cache_root().rglob("*") if p.is_file())


def test_fetches_once_and_then_uses_the_cache(downloads: list[str]) -> None:
    first = PACKAGE.files(DIGESTS)
    assert {name: path.read_bytes() for name, path in first.items()} == MEMBERS
    assert PACKAGE.files(DIGESTS) == first
    assert downloads == ["example==1.0"]


def test_fetches_again_when_a_cached_file_was_changed(downloads: list[str]) -> None:
    path = PACKAGE.file("p/a.bin", DIGESTS["p/a.bin"])
    path.write_bytes(b"altered")
    assert PACKAGE.file("p/a.bin", DIGESTS["p/a.bin"]).read_bytes() == b"alpha"
    assert len(downloads) == 2


def test_refuses_another_digest_and_keeps_nothing(downloads: list[str]) -> None:
    with pytest.raises(FetchError, match=rf"p/b.bin: SHA-256 is {DIGESTS['p/b.bin']}, expected {'0' * 64}"):
        PACKAGE.files({**DIGESTS, "p/b.bin": "0" * 64})
    assert cached() == []


def test_a_group_stands_under_one_digest(downloads: list[str]) -> None:
    lines = "".join(f"{DIGESTS[name]}  {name}\n" for name in sorted(MEMBERS))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    paths = PACKAGE.group(list(MEMBERS), digest)
    assert listing_digest(paths) == digest
    assert PACKAGE.group(list(MEMBERS), digest) == paths
    assert len(downloads) == 1


def test_a_group_with_another_digest_is_refused(downloads: list[str]) -> None:
    with pytest.raises(FetchError, match="2 members: SHA-256 is"):
        PACKAGE.group(list(MEMBERS), "0" * 64)
    assert cached() == []


def test_names_a_member_that_the_package_lacks(downloads: list[str]) -> None:
    with pytest.raises(FetchError, match=r"example==1\.0: .*no plain file 'p/c.bin'"):
        PACKAGE.file("p/c.bin", "0" * 64)


def test_says_what_a_failing_client_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path))
    code = "import sys; print('no route to host', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(Package, "_command", lambda _: [sys.executable, "-c", code])
    with pytest.raises(FetchError, match="failed: no route to host; check the network"):
        PACKAGE.files(DIGESTS)


def test_says_which_client_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path))
    monkeypatch.setattr(Package, "_command", lambda _: ["no-such-client-here"])
    with pytest.raises(FetchError, match="no-such-client-here is not installed"):
        PACKAGE.files(DIGESTS)


@pytest.mark.parametrize(
    ("package", "spec"),
    [
        (Package("pypi", "a-b", "1"), "a-b==1"),
        (Package("npm", "@a/b", "1"), "@a/b@1"),
        (Package("debian", "a", "1:2-3"), "a=1:2-3"),
    ],
    ids=["pypi", "npm", "debian"],
)
def test_spells_a_package_as_its_client_does(package: Package, spec: str) -> None:
    assert package.spec == spec
    assert package._command()[-1] == spec
    assert package.folder.parent == cache_root() / "packages" / package.registry


def test_takes_wheels_only_and_no_dependencies() -> None:
    command = Package("pypi", "a", "1")._command()
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert "--no-deps" in command


def test_sha256_is_complete(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
