"""A folder is built once, appears whole or not at all, and is rebuilt when it is stale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.folder import STAMP, build, folder_of, is_built, write_npz, write_recipe


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("TAMIS_ZOO", str(tmp_path / "zoo"))
    return []


def example(calls: list[str], version: int = 1) -> ZooEntry:
    def write(folder: Path) -> None:
        calls.append(f"version {version}")
        (folder / "model.onnx").write_bytes(b"model")

    return ZooEntry("example", "Example", "none", "none", "none", write, version)


def test_builds_once(calls: list[str]) -> None:
    entry = example(calls)
    assert not is_built(entry)
    assert build(entry) == build(entry) == folder_of(entry)
    assert is_built(entry)
    assert calls == ["version 1"]


def test_builds_again_for_another_version(calls: list[str]) -> None:
    build(example(calls))
    build(example(calls, version=2))
    assert calls == ["version 1", "version 2"]


def test_builds_again_when_a_file_was_changed(calls: list[str]) -> None:
    entry = example(calls)
    (build(entry) / "model.onnx").write_bytes(b"other")
    assert not is_built(entry)
    assert (build(entry) / "model.onnx").read_bytes() == b"model"


def test_builds_again_when_the_stamp_is_damaged(calls: list[str]) -> None:
    entry = example(calls)
    (build(entry) / STAMP).write_text("{", encoding="utf-8")
    assert not is_built(entry)


def test_a_failure_leaves_nothing(calls: list[str]) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    entry = ZooEntry("example", "Example", "none", "none", "none", fail)
    with pytest.raises(OSError, match="disk full"):
        build(entry)
    assert list(folder_of(entry).parent.iterdir()) == []


def test_npz_bytes_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, -1])
    write_npz(tmp_path / "1.npz", {"a": a, "b": b})
    write_npz(tmp_path / "2.npz", {"b": b, "a": np.asfortranarray(a)})
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "1.npz") as read:
        np.testing.assert_array_equal(read["a"], a)
        np.testing.assert_array_equal(read["b"], b)


def test_recipe_is_yaml_of_the_agreed_shape(tmp_path: Path) -> None:
    shapes = {"ids": (1, 8), "audio:0": (1, 4, 1), "rate": ()}
    write_recipe(tmp_path, shapes, "accuracy", 5, {"ids": (0, 99)})
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8")) == {
        "version": 1,
        "extends": "lossless",
        "model": "model.onnx",
        "inputs": {
            "ids": {"shape": [1, 8], "range": [0, 99]},
            "audio:0": {"shape": [1, 4, 1]},
            "rate": {"shape": []},
        },
        "data": {
            "calibration": {"npz": "calibration.npz", "samples": 5},
            "evaluation": {"npz": "evaluation.npz", "metric": "accuracy"},
        },
    }
