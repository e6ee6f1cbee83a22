"""The pages on build systems show what is in ``integrations/``, and only options that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import typer

from tamis.compiler.cli.app import app
from tests.integrations.conftest import INTEGRATIONS, ROOT

PAGES = ROOT / "docs" / "build-systems"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SYSTEMS = sorted(path.name for path in INTEGRATIONS.iterdir() if path.is_dir() and path.name != "example")


def page(system: str) -> str:
    return (PAGES / f"{system}.md").read_text(encoding="utf-8")


def files(system: str) -> list[str]:
    return [p.read_text(encoding="utf-8") for p in (INTEGRATIONS / system).iterdir() if p.is_file()]


def shown(system: str) -> str:
    """The first block that is a file rather than commands."""
    blocks: list[tuple[str, str]] = FENCE.findall(page(system))
    return next(code for kind, code in blocks if kind != "console")


@pytest.mark.parametrize("system", [s for s in SYSTEMS if s not in ("docker", "github-actions")])
def test_the_page_shows_the_file(system: str) -> None:
    assert any(shown(system) in text for text in files(system))


@pytest.mark.parametrize("system", ["docker", "github-actions"])
def test_the_commands_of_the_page_are_those_of_the_file(system: str) -> None:
    wanted = re.findall(r"^\$ (tamis .*)$", page(system), re.MULTILINE)
    text = "\n".join(files(system)).replace("/bundle ", "bundle ")
    assert wanted
    assert all(command in text for command in wanted)


def test_each_system_has_its_page_and_the_list_has_all() -> None:
    assert sorted(p.stem for p in PAGES.glob("*.md") if p.stem != "README") == SYSTEMS
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", (PAGES / "README.md").read_text(encoding="utf-8"))) == set(SYSTEMS)


@pytest.mark.parametrize(
    "path", [*PAGES.glob("*.md"), *(p for p in INTEGRATIONS.rglob("*") if p.is_file())], ids=lambda p: p.name
)
def test_options_exist(path: Path) -> None:
    compile_ = typer.main.get_command(app).get_command(click.Context(click.Command("tamis")), "compile")  # type: ignore[attr-defined]
    known = {option for parameter in compile_.params for option in (*parameter.opts, *parameter.secondary_opts)}
    calls = re.findall(r"tamis compile (.*)", path.read_text(encoding="utf-8"))
    assert {option for call in calls for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", call)} <= known
