"""The sdist and the wheel: everything of ``tamis`` and nothing else, and it works where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("compiler", "passes", "targets", "recipes")
SHIPPED = {".py", ".yaml", ".json", ".typed"}
LEFT_OUT = shutil.ignore_patterns(
    ".*", "build", "dist", "demo", "*.egg-info", "__pycache__", "tests", "docs", "benchmarks"
)

IN_THE_INSTALLED_COPY = """
import sys
from pathlib import Path
import tamis
from tamis.compiler import registry
from tamis.compiler.machine import find_machine
from tamis.compiler.recipe_file import load_recipe

assert Path(tamis.__file__).is_relative_to(sys.argv[1]), tamis.__file__
assert registry.recipe_names() and registry.machine_names()
for name in registry.recipe_names():
    assert load_recipe(name).origin == name
for name in registry.machine_names():
    assert find_machine(name).name == name
for kind, names in registry.TABLE.items():
    for name in names:
        registry.lookup(kind, name)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that ``make dist`` makes, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "checkout"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (found,) = dist.glob("*.whl")
    return found


def shipped() -> set[str]:
    """Paths inside the package of all files that belong into it."""
    found = {"__init__.py", "__main__.py", "py.typed"}
    for folder in FOLDERS:
        paths = (p for p in (ROOT / folder).rglob("*") if p.suffix in SHIPPED and "__pycache__" not in p.parts)
        found |= {p.relative_to(ROOT).as_posix() for p in paths}
    return found


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    info = {top for top in tops if top.endswith(".dist-info")}
    assert len(info) == 1
    assert tops - info == {"tamis"}
    assert {name.removeprefix("tamis/") for name in names if name.startswith("tamis/")} == shipped()
    assert any(name.endswith("LICENSE") for name in names)


def test_the_sdist_holds_real_files(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert [m.name for m in members if m.issym() or m.islnk()] == []
    package = {m.name.partition("/src/tamis/")[2] for m in members if m.isfile() and "/src/tamis/" in m.name}
    assert package == shipped()


def test_the_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    command = [sys.executable, "-c", IN_THE_INSTALLED_COPY, str(target)]
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
