"""Samples from an installed data set: held to the rules, and blamed for what it breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.compiler import registry
from tamis.compiler.data_source import open_samples
from tamis.compiler.errors import DataError, RegistryError
from tamis.compiler.recipe import DataSource
from tests.compiler.data.array_writers import ramp, value

X = value("x", ("N", 2))


class Numbers:
    """A data set of two samples; subclasses break one thing each."""

    def __init__(self, source: DataSource, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield {"x": ramp(1, 2)}
        yield {"x": ramp(1, 2, dtype=np.float64) + 1}

    def labels(self, index: int) -> Any:
        return np.array([index])

    def digest(self) -> str:
        return "0" * 64


class Unlabelled(Numbers):
    def labels(self, index: int) -> Any:
        return None


class Failing(Numbers):
    def __init__(self, source: DataSource, folder: Path) -> None:
        raise KeyError("token")


class Empty(Numbers):
    def __len__(self) -> int:
        return 0


class Short(Numbers):
    def __len__(self) -> int:
        return 3


class Wrong(Numbers):
    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield {"x": ramp(2)}


class Misnamed(Numbers):
    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield {"xx": ramp(1, 2)}


class Breaking(Numbers):
    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield {"x": ramp(1, 2)}
        raise ZeroDivisionError("oh")


class Digestless(Numbers):
    def digest(self) -> str:
        return "latest"


class TextLabels(Numbers):
    def labels(self, index: int) -> Any:
        return "cat"


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    names = [
        "Numbers",
        "Unlabelled",
        "Failing",
        "Empty",
        "Short",
        "Wrong",
        "Misnamed",
        "Breaking",
        "Digestless",
        "TextLabels",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.TABLE, "datasets", {name: f"{__name__}:{name}" for name in names})
        registry.table.cache_clear()
        yield
    registry.table.cache_clear()


def test_a_data_set_by_name(tmp_path: Path) -> None:
    samples = open_samples(DataSource(dataset="Numbers", metric="accuracy"), tmp_path, [X])
    assert [feed["x"].tolist() for feed in samples] == [[[0, 1]], [[1, 2]]]
    assert [feed["x"].dtype for feed in samples] == [np.float32] * 2
    assert samples.labels(1).tolist() == [1]
    assert samples.digest() == "0" * 64
    assert len(open_samples(DataSource(dataset="Numbers", samples=1), tmp_path, [X])) == 1


def test_a_data_set_without_labels(tmp_path: Path) -> None:
    samples = open_samples(DataSource(dataset="Unlabelled"), tmp_path, [X])
    assert not samples.labelled
    with pytest.raises(DataError, match="these samples have no labels"):
        samples.labels(0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Failing", "data set Failing: the data set failed; found KeyError: 'token'"),
        ("Empty", "data set Empty: there are no samples"),
        ("Short", "data set Short, sample 2: the data set ended early; expected 3 samples"),
        ("Wrong", "data set Wrong, sample 0, input x: wrong shape; expected [?, 2], found [2]"),
        ("Misnamed", "data set Misnamed, sample 0: the model has no input 'xx' (did you mean 'x'?)"),
        ("Breaking", "data set Breaking: the data set failed; found ZeroDivisionError: oh"),
        ("Digestless", "data set Digestless: the digest is not a SHA-256; found 'latest'"),
        ("TextLabels", "data set TextLabels, sample 0, labels: labels must be numbers"),
    ],
)
def test_a_data_set_that_breaks_the_rules(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        samples = open_samples(DataSource(dataset=name), tmp_path, [X])
        list(samples)
        samples.labels(0)
        samples.digest()


def test_a_data_set_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no data set 'Nunbers'"):
        open_samples(DataSource(dataset="Nunbers"), tmp_path, [X])
