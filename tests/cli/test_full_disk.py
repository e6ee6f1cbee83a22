"""A file that cannot grow further, for each kind of output: one error, what was there stays, and nothing else is left."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tamis.compiler.tuning_database import TuningDatabase
from tests.cli.conftest import Command
from tests.full_disk import files_of_at_most

OUTPUTS = {
    "a bundle": ("out", ("compile", "recipe.yaml", "-o", "out", "--quiet")),
    "a zipped bundle": ("out.zip", ("compile", "recipe.yaml", "-o", "out.zip", "--quiet")),
    "the store": ("out.tar", ("cache", "export", "out.tar", "--quiet")),
    "records": ("out.jsonl", ("cache", "export", "out.jsonl", "--quiet")),
}


def state(folder: Path) -> dict[str, str]:
    """Name -> digest of every file, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_disk_that_fills_up(kind: str, tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.compiler import target_build

    monkeypatch.setattr(target_build, "MEASURE_SECONDS", 0.01)
    head, _, _ = (project / "recipe.yaml").read_text().partition("data:")
    (project / "recipe.yaml").write_text(f"{head}passes: [canonicalize, fold-conv-affine: {{guard: 'off'}}]\n")
    name, command = OUTPUTS[kind]
    if command[0] == "cache":
        monkeypatch.delenv("TAMIS_CACHE", raising=False)
        assert tamis("compile", "recipe.yaml", "-o", "first", "--quiet").status == 0
        with TuningDatabase() as database:
            database.put("guard", "0" * 64, {"cpu": "any"}, {"kept": True}, {"cost": 1.0})
    assert tamis(*command).status == 0
    out = project / name
    largest = max(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file())
    again = (*command, "--set", "seed=7") if command[0] == "compile" else command
    before = state(project)
    for size in (1, largest // 2):
        with files_of_at_most(size):
            ran = tamis(*again)
        assert ran.status == 5, (size, ran.err)
        assert "Traceback" not in ran.err
        assert state(project) == before
    assert tamis(*again).status == 0
