"""Tests of passes/quantization/calibration/statistics.py and tensor_statistics.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis.passes.quantization.calibration.statistics as module
from tamis.compiler.errors import PreconditionError, TuningError
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.passes.quantization.calibration.statistics import TensorStatistics, collect
from tamis.passes.quantization.calibration.tensor_statistics import BINS
from tests.models import Array, model, random

GRAPH = "g (float[N,C] x) => (float[N,C] y) { a = Relu(x) y = Log(a) }"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "statistics"


def _context(*arrays: Array) -> PassContext:
    def samples() -> Iterator[Feeds]:
        yield from ({"x": a} for a in arrays)

    return PassContext(samples=samples)


def _collect(*arrays: Array, name: str = "x", **options: Any) -> TensorStatistics:
    return collect(model(GRAPH), [name], _context(*arrays), **options)[name]


def test_counts_what_numpy_counts() -> None:
    arrays = [random(50, 4, seed=i) * (i + 1) for i in range(4)]
    whole = np.concatenate(arrays)
    x, a = _collect(*arrays), _collect(*arrays, name="a")
    assert (x.low, x.high, x.elements, x.zeros, x.non_finite) == (whole.min(), whole.max(), 800, 0, 0)
    wanted, edges = np.histogram(whole, BINS)
    np.testing.assert_allclose(x.edges(), edges, atol=1e-5)
    assert x.histogram.sum() == 800
    assert np.abs(np.cumsum(x.histogram) - np.cumsum(wanted)).max() <= 2  # values beside an edge
    assert (a.low, a.zeros) == (0, (whole <= 0).sum())
    assert a.histogram.sum() == (whole > 0).sum() and a.problem is None


def test_zeros_are_not_in_the_bins_wherever_zero_lies() -> None:
    for offset in (-1.0, -0.3, 0.0):
        array = np.concatenate([np.zeros(500), np.linspace(offset, 1 + offset, 101)]).astype(np.float32)[None]
        found = _collect(array)
        assert found.zeros == (array == 0).sum() and found.histogram.sum() == (array != 0).sum()
        assert found.histogram.min() >= 0


def test_non_finite_values_are_counted_apart() -> None:
    found = _collect(
        np.array([[1, np.nan, 0]], np.float32), np.array([[np.inf, -2, 3]], np.float32), channel_axes={"x": 1}
    )
    assert (found.low, found.high, found.elements, found.non_finite, found.zeros) == (-2, 3, 6, 2, 1)
    assert found.histogram.sum() == 3
    assert found.problem == "is NaN or infinite in places on the calibration samples"
    assert found.channel_low is not None and found.channel_high is not None
    assert found.channel_low.tolist() == [1, -2, 0] and found.channel_high.tolist() == [1, -2, 3]


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((0, 3)), "has no values"),
        (np.zeros((2, 3)), "is 0 on all"),
        (np.full((2, 3), 2.5), "is constant on all"),
        (np.full((2, 3), np.nan), "is NaN or infinite on all"),
    ],
)
def test_problems(array: Array, problem: str) -> None:
    found = _collect(array.astype(np.float32), channel_axes={"x": 1})
    assert found.problem is not None and found.problem.startswith(problem)
    assert found.histogram.sum() == 0 and np.isfinite([found.low, found.high]).all()


def test_channels_of_changing_number_are_not_channels() -> None:
    assert _collect(random(2, 3), random(2, 4), channel_axes={"x": 1}).axis is None
    assert _collect(random(2, 3), random(4, 3), channel_axes={"x": -1}).axis == -1


def test_the_largest_range() -> None:
    found = _collect(np.array([[-3e38, 0, 1, 3e38]], np.float32))
    assert found.histogram.sum() == 3 and found.histogram[0] == found.histogram[-1] == 1


def _no_run(*_: object, **__: object) -> Any:
    raise AssertionError("the model was run")


def test_is_computed_once(monkeypatch: pytest.MonkeyPatch, _cache: Path) -> None:
    arrays = [random(20, 4), random(20, 4, seed=1)]
    first = _collect(*arrays, channel_axes={"x": 1})
    with monkeypatch.context() as patch:
        patch.setattr(module, "gather", _no_run)
        again = _collect(*arrays, channel_axes={"x": 1})
        for other in ([arrays[0]], arrays[::-1]):
            with pytest.raises(AssertionError):
                _collect(*other, channel_axes={"x": 1})
        with pytest.raises(AssertionError):
            _collect(*arrays)
        with pytest.raises(AssertionError):
            collect(model(GRAPH.replace("Log", "Neg")), ["x"], _context(*arrays))
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_file_is_computed_again(damage: bytes | None, _cache: Path) -> None:
    first = _collect(random(20, 4))
    [path] = _cache.iterdir()
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    again = _collect(random(20, 4))
    assert again.low == first.low
    assert [p.name for p in _cache.iterdir()] == [path.name]


def test_old_files_are_removed(monkeypatch: pytest.MonkeyPatch, _cache: Path) -> None:
    monkeypatch.setattr(module, "KEPT_FILES", 2)
    for seed in range(4):
        _collect(random(3, 3, seed=seed))
    assert len(list(_cache.iterdir())) == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(TuningError, match="TAMIS_CACHE_DIR"):
        _collect(random(3, 3))


def test_refuses_without_samples() -> None:
    with pytest.raises(PreconditionError, match="no calibration samples"):
        collect(model(GRAPH), ["x"], PassContext())
