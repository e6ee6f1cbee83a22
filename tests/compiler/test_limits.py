"""Limits come from the environment, and the page on security lists them as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tamis.compiler.bundle import is_bundle, open_bundle
from tamis.compiler.errors import BundleError, ModelError, TuningError, UsageError
from tamis.compiler.limits import ARRAYS, BUNDLE, LIMITS
from tamis.compiler.model_file import load_model
from tamis.compiler.tuning_database import TuningDatabase

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"


def test_the_environment_sets_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUNDLE.variable, raising=False)
    assert BUNDLE.most == 20_000_000_000
    monkeypatch.setenv(BUNDLE.variable, "7")
    assert BUNDLE.most == 7_000_000
    monkeypatch.setenv(BUNDLE.variable, "")
    assert BUNDLE.most == 20_000_000_000


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "9" * 16, "²"])
def test_values_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(ARRAYS.variable, text)
    with pytest.raises(UsageError, match="TAMIS_MAX_ARRAYS_MB: makes no sense; expected a whole number above 0"):
        assert ARRAYS.most


def test_the_documentation_lists_them() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [(limit.variable, str(limit.default), limit.what) for limit in LIMITS]


def larger(path: Path, size: int) -> Path:
    """A sparse file."""
    with path.open("wb") as stream:
        stream.truncate(size)
    return path


def test_a_model_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_MAX_MODEL_MB", "1")
    with pytest.raises(ModelError, match="the model file is too large; expected at most 1000000 bytes, found 1000001"):
        load_model(larger(tmp_path / "m.onnx", 1_000_001))


def test_a_model_of_too_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_MAX_NODES", "2")
    with pytest.raises(ModelError, match="too many nodes; expected at most 2"):
        load_model(CORPUS / "model" / "plain" / "model.onnx")


def test_a_manifest_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_MAX_MANIFEST_MB", "1")
    larger(tmp_path / "bundle.json", 1_000_001)
    with pytest.raises(
        BundleError, match="more than 1000000 bytes; if the file can be trusted, set TAMIS_MAX_MANIFEST_MB"
    ):
        open_bundle(tmp_path)


def test_records_that_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_MAX_RECORDS_MB", "1")
    with (
        TuningDatabase(tmp_path / "t.sqlite") as database,
        pytest.raises(
            TuningError, match="more than 1000000 bytes; if the file can be trusted, set TAMIS_MAX_RECORDS_MB"
        ),
    ):
        database.import_from(larger(tmp_path / "r.jsonl", 1_000_001))


def test_damaged_measurements_are_no_traceback(tmp_path: Path) -> None:
    for name in ("bundle.json", "golden.npz", "model.onnx"):
        (tmp_path / name).write_bytes((CORPUS / "bundle" / "valid" / name).read_bytes())
    assert is_bundle(tmp_path)
    assert open_bundle(tmp_path).measurements == {}
    for text in ("{", "[1]", "[" * 100_000):
        (tmp_path / "measurements.json").write_text(text)
        with pytest.raises(BundleError, match=r"measurements\.json cannot be read"):
            assert open_bundle(tmp_path).measurements
