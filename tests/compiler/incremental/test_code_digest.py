"""The digest of all code: plug-ins count with their whole package, and a broken one keeps nobody from compiling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tamis.compiler.incremental import code_digest
from tamis.compiler.incremental.code_digest import plugins


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of an installed plug-in, ``sieve_plugin``, beside another one whose package is missing."""
    package = tmp_path / "sieve_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('imported')")
    (package / "metric.py").write_text("from sieve_plugin.formula import f")
    (package / "formula.py").write_text("f = 1")
    info = tmp_path / "sieve_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sieve-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tamis.metrics]\nsieve = sieve_plugin.metric:Sieve\nlost = no_such_package.metric:Lost\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code_digest._package.cache_clear()
    yield package
    code_digest._package.cache_clear()


def line(name: str) -> str:
    code_digest._package.cache_clear()
    return next(found for found in plugins() if found.split()[1] == name)


def test_every_module_of_a_plug_in_counts(plugin: Path) -> None:
    before = line("sieve")
    assert "no source" not in before
    assert line("sieve") == before
    (plugin / "formula.py").write_text("f = 2")
    assert line("sieve") != before


def test_a_plug_in_whose_package_is_missing() -> None:
    assert line("lost").endswith("no source\n")
