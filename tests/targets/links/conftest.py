"""What the tests of links share, each made once: a model, its libraries, the arm64 system."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.targets.links import qemu
from tamis.targets.onnxruntime.settings import Settings
from tests.models import model, random

Array = np.ndarray[Any, np.dtype[Any]]

NET = """g (float[2, 64] x, float16[3] h, int64[1] i, float s)
=> (float[2, 32] y, float16[3] z, int64[1] j, float[2, 64] same, float t)
{ m = MatMul(x, W) y = Sigmoid(m) z = Add(h, h) j = Add(i, i) same = Identity(x) t = Add(s, s) }"""
"""Several outputs, one of them an input, of several types, one without dimensions."""


def feeds(seed: int = 1) -> dict[str, Array]:
    """Inputs of ``NET``."""
    return {
        "x": random(2, 64, seed=seed),
        "h": random(3, seed=seed, dtype=np.float16),
        "i": np.array([seed], np.int64),
        "s": np.array(seed, np.float32),
    }


def expected(fed: dict[str, Array]) -> dict[str, Array]:
    """Outputs of ``NET``."""
    y = 1 / (1 + np.exp(-(fed["x"].astype(np.float64) @ random(64, 32))))
    return {
        "y": y.astype(np.float32),
        "z": fed["h"] * 2,
        "j": fed["i"] * 2,
        "same": fed["x"],
        "t": np.asarray(fed["s"] * 2),
    }


def check(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    """Names, types, shapes and values."""
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``NET``."""
    path = tmp_path_factory.mktemp("links") / "net.onnx"
    ir.save(model(NET, W=random(64, 32)), path)
    return path


@pytest.fixture(scope="session")
def libraries(onnx_file: Path) -> Path:
    """The folder with what ``build_libraries`` makes of ``NET``."""
    program = Path(__file__).with_name("build_libraries.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, str(program), str(onnx_file), str(onnx_file.parent)], env=environment, check=True)
    return onnx_file.parent


@pytest.fixture(scope="session")
def tvm_settings() -> dict[str, Any]:
    """What a library of ``NET`` is loaded with."""
    inputs = [{"name": n, "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in feeds().items()]
    return {"threads": 2, "inputs": inputs, "outputs": ["y", "z", "j", "same", "t"]}


@pytest.fixture(scope="session")
def emulated() -> Callable[[str | None], dict[str, Any]]:
    """Arguments of ``RemoteModel`` that have it emulated, by LLVM's name of the CPU; makes the arm64 system."""
    command = qemu.command()
    return lambda cpu: {"command": command, "environment": qemu.environment(cpu)}


@pytest.fixture
def session_data() -> dict[str, Any]:
    """What ONNX Runtime opens a model with."""
    return Settings(threads=2).session_data()
