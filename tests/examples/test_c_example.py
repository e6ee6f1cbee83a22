"""The C example builds, gives what a bundle of ONNX Runtime should, and notices when it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import tamis
from tamis.compiler import target_build

EXAMPLE = Path(__file__).parents[2] / "examples" / "c"
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 4] x, int64[1] at) => (float[1, 4] y, float[1, 1] z, bool[1, 4] more) {
    r = Sigmoid(x)
    y = Softmax(r)
    z = Gather<axis = 1>(y, at)
    half = Constant<value_float = 0.5>()
    more = Greater(r, half)
}
"""
SECONDS = 180.0
COMPILER = {} if shutil.which("cc") else {"CC": f"{sys.executable} -m ziglang cc"}


def make(example: Path, out: Path, variables: Mapping[str, str]) -> Path:
    """Build an example by its Makefile; returns the program."""
    settings = [f"{name}={value}" for name, value in {"PYTHON": sys.executable, "BUILD": str(out), **variables}.items()]
    made = subprocess.run(
        ["make", "-C", str(example), *settings], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return out / "run_bundle"


def run(program: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example on dumped golden arrays."""
    return subprocess.run([program, folder], capture_output=True, text=True, timeout=SECONDS, check=False)


def dump(bundle: Path, out: Path) -> Path:
    """Golden arrays of a bundle as raw files."""
    subprocess.run([sys.executable, bundle / "tamis_bundle.py", "--dump-golden", out], timeout=SECONDS, check=True)
    return out


def spoil(folder: Path) -> None:
    """One expected value of one output that is a little wrong."""
    line = next(
        t for t in (folder / "bundle.txt").read_text().splitlines() if t.startswith("out 1 ") and t[-2:] == " y"
    )
    path = folder / line.split()[-2]
    array = np.fromfile(path, np.float32)
    array[np.abs(array).argmax()] *= np.float32(1.01)
    array.tofile(path)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, warnings as errors."""
    return make(EXAMPLE, tmp_path_factory.mktemp("program"), {"CFLAGS": "-O0 -Werror", **COMPILER})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle of ONNX Runtime with a loader."""
    folder = tmp_path_factory.mktemp("bundle")
    ir.save(ir.from_onnx_text(MODEL), folder / "net.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_build, "MEASURE_SECONDS", 0.01)
        options = {"targets": [{"machine": "host", "runtime": "onnxruntime", "options": {"threads": 1}}]}
        yield tamis.compile(folder / "net.onnx", out=folder / "out", with_loader=True, set=options).path


@pytest.fixture
def golden(bundle: Path, tmp_path: Path) -> Path:
    """Its golden arrays as raw files."""
    return dump(bundle, tmp_path / "golden")


def test_it_reproduces_every_output(program: Path, golden: Path) -> None:
    ran = run(program, golden)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" ok\n") == 9 and "error 0 " in ran.stdout


def test_a_wrong_golden_is_noticed(program: Path, golden: Path) -> None:
    spoil(golden)
    ran = run(program, golden)
    assert ran.returncode == 3
    assert ran.stdout.count("DIFFERS") == 1 and "case 1  output y  error 0.0099" in ran.stdout


def test_a_wrong_shape_is_noticed(program: Path, golden: Path) -> None:
    index = golden / "bundle.txt"
    index.write_text(index.read_text().replace("float32 2 1 4 0-out", "float32 2 4 1 0-out"))
    ran = run(program, golden)
    assert ran.returncode == 3 and "error nan" in ran.stdout


@pytest.mark.parametrize(
    ("old", "new", "status", "message"),
    [
        ("runtime onnxruntime", "runtime other", 2, "not of: other"),
        ("provider CPU", "provider CUDA", 2, "runs on the CPU only"),
        ("entry session", "entry", 2, "cut short"),
        ("float32 2 1 4 0-in", "float32 2 1 5 0-in", 2, "not as long as its shape"),
        ("float32 2 1 4 0-in", "float32 99 1 4 0-in", 2, "too many dimensions"),
        ("float32 2 1 4 0-in", "complex64 2 1 4 0-in", 2, "element type without a reader"),
        ("model.onnx", "nothing.onnx", 5, "onnxruntime: "),
    ],
)
def test_bad_input_is_one_error(program: Path, golden: Path, old: str, new: str, status: int, message: str) -> None:
    index = golden / "bundle.txt"
    text = index.read_text()
    assert old in text
    if old == "entry session":
        text, old, new = text + "entry\n", "", ""
    index.write_text(text.replace(old, new) if old else text)
    ran = run(program, golden)
    assert ran.returncode == status, ran.stderr
    assert message in ran.stderr and ran.stderr.count("\n") == 1


def test_no_folder_is_usage(program: Path, tmp_path: Path) -> None:
    assert subprocess.run([program], capture_output=True, timeout=SECONDS, check=False).returncode == 2
    assert run(program, tmp_path / "gone").returncode == 2
    assert os.listdir(tmp_path) == []  # noqa: PTH208
