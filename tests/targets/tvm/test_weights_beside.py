"""Weights in a file beside the library: read and checked without the compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import tamis
from tamis.compiler.bundle import Bundle
from tamis.compiler.machine import find_machine
from tamis.targets.tvm.runtime import Tvm
from tamis.targets.tvm.settings import TvmOptions
from tests.models import Array, model, random

NET = """g (float[4, 64] x) => (float[4, 16] y, float[4, 64] z)
{ m = MatMul(x, W) r = Relu(m) s = Add(r, B) y = MatMul(s, V) z = MatMul(r, U) }"""
"""Three weights that are large, and one that is not: it stays in the library."""
WEIGHTS = {"W": random(64, 96), "B": random(96, seed=1), "V": random(96, 16, seed=2), "U": random(96, 64, seed=3)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """``NET`` with its weights beside the library."""
    folder = tmp_path_factory.mktemp("weights")
    ir.save(model(NET, **WEIGHTS), folder / "net.onnx")
    target = {"machine": "host", "runtime": "tvm", "options": {"weights": "beside"}}
    return tamis.compile(folder / "net.onnx", recipe="lossless", out=folder / "out", set={"targets": [target]})


def test_each_weight_comes_where_it_belongs(bundle: Bundle) -> None:
    x = random(4, 64, seed=4)
    relu = np.maximum(x @ WEIGHTS["W"], 0)
    found = tamis.load(bundle.path)({"x": x})
    np.testing.assert_allclose(found["y"], (relu + WEIGHTS["B"]) @ WEIGHTS["V"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["z"], relu @ WEIGHTS["U"], rtol=1e-4, atol=1e-4)
    assert all(replay.ok for replay in tamis.verify(bundle.path).replays)


def test_large_weights_leave_the_library(bundle: Bundle) -> None:
    assert bundle.report.artifact == ("model.so", "weights.npz")
    with np.load(bundle.path / "weights.npz") as archive:
        arrays = list(archive.values())
    library = (bundle.path / "model.so").read_bytes()
    assert {_elements(array) for array in arrays} == {_elements(WEIGHTS[name]) for name in "WVU"}
    assert not any(array.tobytes() in library for array in arrays)
    assert WEIGHTS["B"].tobytes() in library


def _elements(array: Array) -> bytes:
    """In an order of their own, since how a machine wants its weights packed depends on its registers."""
    return np.sort(array, axis=None).tobytes()


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_the_file_is_checked(damage: str, bundle: Bundle, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    weights = copy / "weights.npz"
    data = bytearray(weights.read_bytes())
    weights.unlink()
    if damage == "change":
        data[len(data) // 2] ^= 1
        weights.write_bytes(data)
    with pytest.raises(tamis.TamisError, match=r"weights\.npz"):
        tamis.load(copy)


def test_the_file_has_no_time_of_its_making(bundle: Bundle) -> None:
    with np.load(bundle.path / "weights.npz") as archive:
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.zip.infolist())


def test_gpus_have_their_weights_in_the_library() -> None:
    reason = Tvm(TvmOptions(weights="beside")).unavailable(find_machine("nvidia-sm80"))
    assert reason is not None and "weights: beside" in reason
