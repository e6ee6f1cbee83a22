"""Pages on disk: what is stale is found and put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.compiler import pages
from tamis.compiler.errors import RegistryError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all pages."""
    folder = tmp_path_factory.mktemp("docs")
    pages.write(folder)
    return folder


def test_written_pages_are_fresh(written: Path) -> None:
    assert pages.stale(written) == []
    assert pages.write(written) == []


def test_a_changed_a_missing_and_a_left_over_page_are_found_and_repaired(written: Path) -> None:
    changed, missing, left_over = (written / "errors" / name for name in ("T100.md", "T101.md", "T999.md"))
    changed.write_text(changed.read_text() + "by hand\n")
    missing.unlink()
    left_over.write_text("# T999\n")
    expected = ["errors/T100.md", "errors/T101.md", "errors/T999.md"]
    assert pages.stale(written) == expected
    assert pages.main(["--check", str(written)]) == 1
    assert pages.write(written) == expected
    assert not left_over.exists()
    assert pages.main(["--check", str(written)]) == 0


def test_a_file_of_another_folder_is_left_alone(written: Path) -> None:
    guide = written / "recipe.md"
    guide.write_text("# Recipe\n")
    assert pages.write(written) == []
    assert guide.exists()


@pytest.mark.parametrize("kind", pages.PAGES)
def test_an_unknown_name_is_refused(kind: str) -> None:
    with pytest.raises(RegistryError, match="no-such-name"):
        pages.page(kind, "no-such-name")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RegistryError, match="did you mean 'passes'"):
        pages.page("pases", "canonicalize")


def test_the_page_of_an_error_names_parent_children_and_status() -> None:
    text = pages.page("errors", "T300")
    assert "# T300 VerificationError" in text
    assert "exit status: 3" in text
    assert "`TamisError` (T000)" in text
    assert "`ContractViolationError` (T301)" in text


def test_the_page_of_a_pass_has_its_contract_sections_and_options() -> None:
    text = pages.page("passes", "canonicalize")
    assert "- contract: exact (same bits" in text
    assert "## Match\n" in text
    assert '| `on_violation` | `error` or `skip` | `"error"` |' in text
