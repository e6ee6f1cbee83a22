"""CUDA libraries: what is compiled beforehand is handed over, and arrays go to the device and back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.compiler.errors import LoweringError
from tamis.targets.links.cuda_library import compiled_kernels
from tamis.targets.links.remote_model import RemoteModel
from tests.targets.links.conftest import check, expected, feeds

SOURCE = 'extern "C" __global__ void k() {}'


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    facts = {"compute": "sm_87", "source": hashlib.sha256(SOURCE.encode()).hexdigest(), "kernels": []}
    (tmp_path / "kernels.json").write_text(json.dumps(facts))
    (tmp_path / "kernels.cubin").write_bytes(b"\x7fELF")
    (tmp_path / "kernels.ptx").write_bytes(b"//ptx")
    return tmp_path


@pytest.mark.parametrize(("compute", "code"), [("8.7", b"\x7fELF"), ("8.6", b"//ptx\0"), ("10.0", b"//ptx\0")])
def test_machine_code_for_its_gpu_assembly_for_others(bundle: Path, compute: str, code: bytes) -> None:
    assert compiled_kernels(bundle, lambda: compute)(SOURCE) == code


def test_code_of_another_source_is_not_handed_over(bundle: Path) -> None:
    with pytest.raises(RuntimeError, match="compiled from another source"):
        compiled_kernels(bundle, lambda: "8.7")(SOURCE + " ")


def test_the_device_is_asked_only_when_code_is_wanted(bundle: Path) -> None:
    def no_device() -> str:
        raise AssertionError("asked too early")

    answer = compiled_kernels(bundle, no_device)
    with pytest.raises(AssertionError):
        answer(SOURCE)


def test_arrays_go_to_the_device_and_back(libraries: Path, tvm_settings: dict[str, Any], tmp_path: Path) -> None:
    fed = feeds()
    np.savez(tmp_path / "feeds.npz", **fed)  # type: ignore[arg-type]
    program = Path(__file__).with_name("cuda_on_cpu.py")
    files = [str(tmp_path / "feeds.npz"), str(tmp_path / "outputs.npz")]
    run = subprocess.run(
        [sys.executable, str(program), str(libraries / "x86-64.so"), json.dumps(tvm_settings), *files],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-1000:]
    with np.load(tmp_path / "outputs.npz") as found:
        check(dict(found), expected(fed))


def test_without_a_gpu_the_error_says_what_is_missing(
    bundle: Path, libraries: Path, tvm_settings: dict[str, Any]
) -> None:
    (bundle / "model.so").write_bytes((libraries / "x86-64.so").read_bytes())
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return  # there is a GPU: tests marked gpu load libraries on it
    with pytest.raises(LoweringError, match=r"libcuda|CUDA"):
        RemoteModel("tvm-cuda", bundle / "model.so", tvm_settings)
