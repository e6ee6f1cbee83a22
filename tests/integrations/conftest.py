"""The examples of ``integrations/`` in a folder of their own, with a ``tamis`` on the path that counts its calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTEGRATIONS = ROOT / "integrations"
WRAPPER = """#!{python}
import os, sys
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
from tamis.compiler.cli.app import run
from tamis.compiler.incremental import make
def brief(*arguments, really=make._build, **options):
    from tamis.compiler import guard, target_build
    target_build.MEASURE_SECONDS = 0.01
    guard.guard.__kwdefaults__["seconds"] = 0.01
    return really(*arguments, **options)
make._build = brief
sys.exit(run(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Example:
    """A copy of an example.

    Args:
        folder: Where it is.
        log: Gets a line for each call of ``tamis``.
    """

    folder: Path
    log: Path

    def calls(self) -> list[str]:
        """The calls since the last look."""
        found = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command there; what it printed."""
        ran = subprocess.run(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert (ran.returncode != 0) is fails, ran.stdout
        return ran.stdout


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all examples: they build the same."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def example(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Example]:
    """``example("make")`` copies ``integrations/make`` and the model."""
    binaries, log = tmp_path / "bin", tmp_path / "calls.log"
    binaries.mkdir()
    wrapper = binaries / "tamis"
    wrapper.write_text(WRAPPER.format(python=sys.executable, log=str(log)))
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(cache))
    monkeypatch.setenv("TAMIS_CACHE", "on")

    def copy(name: str) -> Example:
        folder = tmp_path / name
        shutil.copytree(INTEGRATIONS / name, folder)
        shutil.copytree(INTEGRATIONS / "example", folder, dirs_exist_ok=True)
        subprocess.run([sys.executable, "write_model.py"], cwd=folder, check=True, timeout=60)
        return Example(folder, log)

    return copy
