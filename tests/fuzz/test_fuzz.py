"""The quick share of the fuzzing, the same cases each time: all readers of files from elsewhere, see ``readers``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.batch import CORPUS
from tests.fuzz.hostile import HOSTILE
from tests.fuzz.planted import PLANTED
from tests.fuzz.readers import READERS

CORPUS_BYTES = 200_000
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a process has found that forks a child for each reader; nothing here is loaded in it."""
    return told("tests.fuzz.batch", tmp_path_factory.mktemp("fuzz"), "0", "0")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The same for readers with planted faults."""
    return told("tests.fuzz.planted", tmp_path_factory.mktemp("planted"))


def told(module: str, folder: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, "-m", module, str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return {line["reader"]: line for line in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.parametrize("name", READERS)
def test_nothing_but_errors_of_ours(found: dict[str, dict[str, Any]], name: str) -> None:
    batch = found[name]
    assert not batch["problem"], f"{batch['case']}: {batch['problem']}"
    assert batch["cases"] >= READERS[name].quick + len(HOSTILE.get(name, {}))


@pytest.mark.parametrize("name", READERS)
def test_some_changed_files_are_good_ones(found: dict[str, dict[str, Any]], name: str) -> None:
    """A reader that refuses everything would be fuzzed in vain."""
    assert found[name]["accepted"] >= 1


def test_the_corpus_is_small_and_used() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(READERS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < CORPUS_BYTES
    for name, reader in READERS.items():
        assert all((case / reader.file).is_file() for case in (CORPUS / name).iterdir())


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: str(fault.__name__))
def test_planted_faults_are_found(planted: dict[str, dict[str, Any]], fault: Callable[[Path], None]) -> None:
    assert PLANTED[fault] in planted[fault.__name__]["problem"]
