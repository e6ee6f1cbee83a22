"""``--depfile`` and ``--out-manifest``: what build systems read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import onnx
import pytest

from tamis.compiler.depfile import escaped, write_depfile
from tamis.compiler.errors import UsageError
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.compiler.target_build.MEASURE_SECONDS", 0.01)


def rule(path: Path) -> tuple[list[str], set[str]]:
    """Targets and sources of the first rule of a depfile, unescaped."""
    first = path.read_text().split("\n\n")[0].replace("\\\n", " ")
    targets, _, sources = first.partition(":")
    words = [re.findall(r"(?:\\.|[^\s\\])+", side) for side in (targets, sources)]
    plain = [[re.sub(r"\\(.)", r"\1", w).replace("$$", "$") for w in side] for side in words]
    return plain[0], set(plain[1])


def test_it_lists_all_that_was_read(tamis: Command, project: Path) -> None:
    model = onnx.load(project / "tiny.onnx")
    onnx.save(model, "tiny.onnx", save_as_external_data=True, location="weights of.bin", size_threshold=0)
    (project / "own.yaml").write_text("version: 1\nextends: recipe.yaml\nseed: 2\n")
    ran = tamis("compile", "own.yaml", "-o", "out", "-q", "--depfile", "out.d", "--out-manifest", "manifest.json")
    assert ran.status == 0, ran
    targets, sources = rule(project / "out.d")
    assert targets == ["out/bundle.json"]
    names = ("own.yaml", "recipe.yaml", "tiny.onnx", "weights of.bin", "calibration.npz", "evaluation.npz")
    assert sources == {str(project / name) for name in names}
    assert json.loads((project / "manifest.json").read_text()) == json.loads((project / "out/bundle.json").read_text())


def test_an_output_that_is_up_to_date_has_its_depfile_and_keeps_its_manifest(tamis: Command, project: Path) -> None:
    arguments = ("compile", "recipe.yaml", "-o", "a.zip", "-q", "--depfile", "a.d", "--out-manifest", "a.json")
    assert tamis(*arguments).status == 0
    os.utime(project / "a.json", (1, 1))
    (project / "a.d").unlink()
    assert "up to date" in tamis(*arguments).out
    assert (project / "a.json").stat().st_mtime == 1
    assert rule(project / "a.d")[0] == ["a.zip"]


def test_several_targets(tamis: Command, project: Path) -> None:
    more = ("--set", 'targets=["host",{machine: host, name: second}]')
    ran = tamis("compile", "recipe.yaml", "-o", "o", "-q", "--depfile", "o.d", "--out-manifest", "o.json", *more)
    assert ran.status == 0, ran
    assert rule(project / "o.d")[0] == ["o/host/bundle.json", "o/second/bundle.json"]
    assert [m["target"]["name"] for m in json.loads((project / "o.json").read_text())] == ["host", "second"]


def test_odd_names_are_escaped(tmp_path: Path) -> None:
    assert escaped("a b#c$d") == "a\\ b\\#c$$d"
    with pytest.raises(UsageError, match="line break"):
        write_depfile(tmp_path / "x.d", ["a\nb"], [])
    assert not (tmp_path / "x.d").exists()


def test_a_failed_compile_writes_neither(tamis: Command, project: Path) -> None:
    (project / "tiny.onnx").write_bytes(b"broken")
    ran = tamis("compile", "recipe.yaml", "-o", "out", "-q", "--depfile", "out.d", "--out-manifest", "m.json")
    assert ran.status == 2
    assert not list(project.glob("*.d")) and not (project / "m.json").exists()


@pytest.mark.parametrize("option", ["--depfile", "--out-manifest"])
def test_neither_lies_inside_the_bundle(tamis: Command, project: Path, option: str) -> None:
    ran = tamis("compile", "recipe.yaml", "-o", "out", "-q", option, "out/bundle.json")
    assert (ran.status, "lies inside the bundle" in ran.err) == (2, True)
    assert not (project / "out").exists()
