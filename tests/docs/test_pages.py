"""The generated pages: fresh, complete, none too many; and what they are made of is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.compiler import pages, registry
from tamis.compiler.docstring import parse

DOCS = Path(__file__).parents[2] / "docs"
PASS_SECTIONS = {"Match", "Rewrite", "Preserves", "References"}


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """All pages, made once."""
    return pages.all_pages()


def test_committed_pages_are_fresh() -> None:
    assert pages.stale(DOCS) == [], "run 'make docs'"


@pytest.mark.parametrize("kind", pages.PAGES)
def test_every_name_has_one_page_and_every_page_a_name(kind: str, generated: dict[str, str]) -> None:
    expected = {f"{kind}/{name}.md" for name in pages.names(kind)} | {f"{kind}/README.md"}
    assert expected == {path for path in generated if path.startswith(f"{kind}/")}
    assert expected == {path.relative_to(DOCS).as_posix() for path in (DOCS / kind).glob("*.md")}


def test_every_page_says_something(generated: dict[str, str]) -> None:
    for path, text in generated.items():
        title, summary = text.removeprefix(pages.MARK).split("\n\n")[:2]
        assert title.startswith("# "), path
        assert summary.strip(), path
        assert "None" not in text.split(), path


@pytest.mark.parametrize("name", sorted(registry.TABLE["passes"]))
def test_a_pass_documents_its_match_rewrite_and_promise(name: str) -> None:
    own = parse(registry.pass_class(name))
    assert own.summary
    assert PASS_SECTIONS - own.sections.keys() == set()
    assert all(own.sections.values())


@pytest.mark.parametrize("name", sorted(registry.TABLE["passes"]))
def test_every_option_of_a_pass_is_described(name: str) -> None:
    fields = registry.pass_class(name).options_type.model_fields
    assert [key for key, field in fields.items() if not field.description] == []


@pytest.mark.parametrize("name", sorted(registry.TABLE["targets"]))
def test_every_option_of_a_runtime_is_described(name: str) -> None:
    fields = registry.runtime_class(name).options_type.model_fields
    assert [key for key, field in fields.items() if not field.description] == []


@pytest.mark.parametrize("kind", ["targets", "metrics"])
def test_runtimes_and_metrics_have_a_docstring_of_their_own(kind: str) -> None:
    assert [name for name in registry.TABLE[kind] if not parse(registry.lookup(kind, name)).summary] == []
