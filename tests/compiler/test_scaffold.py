"""What ``tamis new`` writes: right as it is, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tamis.compiler import scaffold
from tamis.compiler.errors import UsageError, WriteError

ROOT = Path(__file__).parents[2]
PARTS = ("compiler", "passes", "targets", "recipes", "src")

New = Callable[[Path], list[Path]]
NEW: dict[str, New] = {
    "pass": lambda root: scaffold.new_pass("cancel-signs", "fusion", root),
    "target": lambda root: scaffold.new_runtime("slow-and-sure", root),
    "recipe": lambda root: scaffold.new_recipe("gentle", root),
}


def copy_checkout(folder: Path) -> Path:
    """A copy of the parts of the checkout that a new pass, target or recipe has to do with."""
    for part in PARTS:
        shutil.copytree(
            ROOT / part, folder / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests").mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path in a folder with what it holds."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout to write into."""
    return copy_checkout(tmp_path / "checkout")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A checkout with one new thing of each kind, and the files written."""
    root = copy_checkout(tmp_path_factory.mktemp("scaffold") / "checkout")
    return root, [path for new in NEW.values() for path in new(root)]


def run(root: Path, *command: str) -> str:
    """Run a Python module in a checkout; everything it printed, if it succeeded."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": "src"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_files_are_where_they_belong(written: tuple[Path, list[Path]]) -> None:
    root, paths = written
    assert [p.relative_to(root).as_posix() for p in paths] == [
        "passes/fusion/cancel_signs.py",
        "tests/passes/fusion/test_cancel_signs.py",
        "compiler/registry.py",
        "targets/slow_and_sure/runtime.py",
        "targets/slow_and_sure/__init__.py",
        "tests/targets/slow_and_sure/test_runtime.py",
        "compiler/registry.py",
        "recipes/gentle.yaml",
    ]


def test_new_files_pass_format_and_lint(written: tuple[Path, list[Path]]) -> None:
    root, paths = written
    files = sorted({str(p) for p in paths if p.suffix == ".py"})
    run(root, "ruff", "format", "--check", *files)
    run(root, "ruff", "check", *files)


def test_new_files_pass_the_type_check(written: tuple[Path, list[Path]]) -> None:
    root, paths = written
    files = ["src/tamis" / p.relative_to(root) for p in paths if p.suffix == ".py" and "tests" not in p.parts]
    tests = [p.relative_to(root) for p in paths if "tests" in p.parts]
    run(root, "mypy", "--follow-imports=silent", *sorted({str(p) for p in (*files, *tests)}))


def test_new_tests_pass(written: tuple[Path, list[Path]]) -> None:
    root, _ = written
    assert " passed" in run(root, "pytest", "-q", "-p", "no:cacheprovider", "tests")


def test_new_things_are_found_by_name(written: tuple[Path, list[Path]]) -> None:
    root, _ = written
    for name in ("cancel-signs", "slow-and-sure", "gentle"):
        assert run(root, "tamis", "explain", name).startswith(f"# {name}\n")


@pytest.mark.parametrize("kind", NEW)
def test_a_second_time_is_refused(checkout: Path, kind: str) -> None:
    NEW[kind](checkout)
    before = contents(checkout)
    with pytest.raises(UsageError, match=r"exists|taken"):
        NEW[kind](checkout)
    assert contents(checkout) == before


@pytest.mark.parametrize("kind", NEW)
def test_a_full_disk_leaves_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    before = contents(checkout)
    real = Path.write_text
    last = "gentle.yaml" if kind == "recipe" else "registry.py"

    def full(self: Path, text: str, encoding: str | None = None) -> int:
        real(self, text[: len(text) // 2], encoding=encoding)
        if self.name == last:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, text, encoding=encoding)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(WriteError):
        NEW[kind](checkout)
    assert contents(checkout) == before


@pytest.mark.parametrize(
    "name", ["CamelCase", "snake_case", "two--dashes", "-dash", "1st", "class", "test-it", "", "../up", "a b"]
)
def test_a_bad_name_is_refused(checkout: Path, name: str) -> None:
    before = contents(checkout)
    news: list[New] = [
        lambda root: scaffold.new_pass(name, "fusion", root),
        lambda root: scaffold.new_runtime(name, root),
        lambda root: scaffold.new_recipe(name, root),
    ]
    for new in news:
        with pytest.raises(UsageError, match="not a usable name"):
            new(checkout)
    assert contents(checkout) == before


def test_a_name_in_use_is_refused(checkout: Path) -> None:
    with pytest.raises(UsageError, match="'canonicalize' is taken"):
        scaffold.new_pass("canonicalize", "fusion", checkout)


def test_an_unknown_family_is_refused_with_the_nearest(checkout: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'fusion'"):
        scaffold.new_pass("cancel-signs", "fussion", checkout)


def test_a_folder_in_the_checkout_will_do(checkout: Path) -> None:
    assert scaffold.new_recipe("gentle", checkout / "passes" / "fusion") == [checkout / "recipes" / "gentle.yaml"]


def test_outside_a_checkout_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    with pytest.raises(UsageError, match="not a checkout of tamis"):
        scaffold.new_recipe("gentle", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["pyproject.toml"]
