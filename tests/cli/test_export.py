"""``tamis export``, ``import``, ``keygen``, ``sign`` and ``sbom`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.toy_bundle import write_bundle


def test_export_and_import(tamis: Command, tmp_path: Path) -> None:
    write_bundle(tmp_path / "work/out")
    made = tamis("export", "out", "-o", "b.tar", "--json")
    assert made.status == 0
    assert json.loads(made.out)["digest"].startswith("sha256:")
    assert tamis("import", "b.tar", "-o", "back").status == 0
    triton = json.loads(tamis("export", "out", "-f", "triton", "-o", "models", "--name", "m", "--json").out)
    assert triton["notes"] == ["spinning: never"]
    assert (tmp_path / "work/models/m/config.pbtxt").is_file()
    wrong = tamis("export", "out", "-o", "x", "--name", "m")
    assert (wrong.status, "does not go with this format" in wrong.err) == (2, True)


def test_keys_signature_and_bill(tamis: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "work/out")
    monkeypatch.delenv("TAMIS_KEY_PASSWORD", raising=False)
    assert tamis("keygen", "release").status == 2
    assert tamis("keygen", ".", "--no-password").status == 2
    assert tamis("keygen", "..", "--no-password").status == 2
    assert not list((tmp_path / "work").glob("release*"))
    assert tamis("keygen", "release", "--no-password").status == 0
    assert tamis("sign", "out", "--key", "release.key").status == 0
    assert (tmp_path / "work/out/bundle.json.minisig").is_file()
    assert tamis("sbom", "out", "-o", "out.json").status == 0
    assert tamis("sbom", "out").out == (tmp_path / "work/out.json").read_text()
    assert tamis("sbom", "out", "-o", "out.xml").status == 2
