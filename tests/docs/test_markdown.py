"""Every Markdown file: relative links lead somewhere, recipes load, Python parses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tamis
from tamis.compiler.recipe_file import load_recipe

ROOT = Path(__file__).parents[2]
SKIPPED = {"build", "dist", "demo", "node_modules"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Markdown files of the checkout, without those of hidden and built folders."""
    found = [
        p
        for p in ROOT.rglob("*.md")
        if not any(part in SKIPPED or part[0] == "." for part in p.relative_to(ROOT).parts)
    ]
    return sorted(p for p in found if not p.is_relative_to(ROOT / "src"))


PAGES = {p.relative_to(ROOT).as_posix(): p for p in pages()}


def links(text: str) -> list[str]:
    """Targets of relative links, not those in code."""
    return [link for link in LINK.findall(FENCE.sub("", text)) if not re.match(r"[a-z]+:", link)]


def anchors(text: str) -> set[str]:
    """The anchors that headings get."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken(page: Path, text: str) -> Iterator[str]:
    for link in links(text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield link


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_resolve(name: str) -> None:
    assert list(broken(PAGES[name], PAGES[name].read_text(encoding="utf-8"))) == []


def test_a_broken_link_is_seen() -> None:
    page = ROOT / "docs" / "quick-start.md"
    text = "[gone](nowhere.md) [no heading](recipe.md#nothing) [web](https://example.com)\n```\n[code](x)\n```\n"
    assert list(broken(page, text + "[there](recipe.md#extending)")) == ["nowhere.md", "recipe.md#nothing"]


def blocks(language: str) -> list[tuple[str, str]]:
    found = (
        (name, code)
        for name, path in PAGES.items()
        for kind, code in FENCE.findall(path.read_text(encoding="utf-8"))
        if kind == language
    )
    return list(found)


@pytest.mark.parametrize(
    ("name", "code"), [(n, c) for n, c in blocks("yaml") if c.startswith("version:") and "\nmodels:" not in c]
)
def test_recipes_in_the_text_are_right(name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(code, encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.yaml").recipe.passes


@pytest.mark.parametrize(("name", "code"), blocks("python"))
def test_python_in_the_text_uses_names_that_exist(name: str, code: str) -> None:
    used = {
        n.attr for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "tamis"
    }
    assert used <= set(tamis.__all__)


def test_the_recipe_of_the_quick_start_is_that_of_the_example() -> None:
    example = (ROOT / "examples" / "first-model" / "recipe.yaml").read_text(encoding="utf-8").split("\n", 1)[1]
    assert example in [code for name, code in blocks("yaml") if name == "docs/quick-start.md"]
