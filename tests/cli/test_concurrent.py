"""Many compiles that share one cache, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tamis.compiler.bundle import open_bundle
from tamis.compiler.cache.check import check_store
from tamis.compiler.cache.store import Store
from tests.cli.concurrent_compiles import COMPILES, DIFFERENT
from tests.cli.conftest import Command


def test_sixteen_compiles_share_one_cache(
    tamis: Command, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAMIS_CACHE")
    script = Path(__file__).with_name("concurrent_compiles.py")
    for _ in range(2):
        ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=True)
        assert ran.stdout.split() == ["0"] * COMPILES, ran.stderr
        assert ran.stderr == ""
        manifests = [open_bundle(project / f"out-{i}").report.to_json() for i in range(COMPILES)]
        assert len(set(manifests)) == DIFFERENT
        assert all(manifests[i] == manifests[i % DIFFERENT] for i in range(COMPILES))
    assert not [p for p in project.iterdir() if p.name.startswith(".")]
    assert not list((tmp_path / "cache" / "drafts").iterdir())
    assert not check_store(Store(tmp_path / "cache"), dry_run=True).damaged
