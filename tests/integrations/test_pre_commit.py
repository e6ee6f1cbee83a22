"""The hook for pre-commit, run by pre-commit in a repository of its own; the command is that of the checkout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.integrations.conftest import ROOT, Example

HOOKS = ".pre-commit-hooks.yaml"
NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def project(example: Callable[[str], Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    """The example as a git repository, with the hooks from a repository beside it."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit-home"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "SKIP"):
        monkeypatch.delenv(name, raising=False)
    hooks = Example(tmp_path / "hooks", tmp_path / "calls.log")
    hooks.folder.mkdir()
    shutil.copy(ROOT / HOOKS, hooks.folder)
    commit(hooks)
    found = example("pre-commit")
    path = found.folder / ".pre-commit-config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    (source,) = config["repos"]
    source.update(repo=str(hooks.folder), rev=hooks.run("git", "rev-parse", "HEAD").strip())
    for hook in source["hooks"]:
        hook["language"] = "system"  # else pre-commit installs tamis into an environment of its own
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    commit(found)
    return found


def commit(repository: Example) -> None:
    """All files, as the first commit."""
    repository.run("git", "init", "-q", ".")
    repository.run("git", "add", ".")
    repository.run("git", *NOBODY, "commit", "-q", "-m", "first")


def test_the_files_are_valid(example: Callable[[str], Example]) -> None:
    folder = example("pre-commit")
    folder.run("pre-commit", "validate-manifest", str(ROOT / HOOKS))
    folder.run("pre-commit", "validate-config", ".pre-commit-config.yaml")


def test_a_recipe_is_checked_when_it_changes(project: Example) -> None:
    said = project.run("pre-commit", "run")
    assert "no files to check" in said.replace("(", "").replace(")", "")
    assert project.calls() == []

    recipe = project.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "seed: 2\n")
    project.run("git", "add", "recipe.yaml")
    assert "Passed" in project.run("pre-commit", "run")
    assert project.calls() == ["check recipe.yaml"]

    recipe.write_text("version: 1\nextends: lossles\n")
    project.run("git", "add", "recipe.yaml")
    said = project.run("pre-commit", "run", fails=True)
    assert "Failed" in said
    assert "exit code: 2" in said
    assert "recipe.yaml:2:10: there is no recipe 'lossles' (did you mean 'lossless'?)" in said
