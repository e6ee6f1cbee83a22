"""A bundle of TVM without tamis: its own loader, and the C++ example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import tamis
from tamis.compiler import choose_runtime, target_build
from tests.examples.isolated import COMPUTE, package_folder, run_isolated
from tests.examples.test_c_example import dump, make, run, spoil

EXAMPLE = Path(__file__).parents[2] / "examples" / "cpp"
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2, 4] x, float[2, 4] w) => (float[2, 4] y, float[2, 4] z) {
    k = Constant<value = float[4, 4] {KERNEL}>()
    r = MatMul(x, k)
    y = Sub(r, w)
    z = Relu(y)
}
""".replace("KERNEL", ", ".join(str(i / 8) for i in range(16)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two inputs whose order matters, two outputs."""
    folder = tmp_path_factory.mktemp("bundle")
    ir.save(ir.from_onnx_text(MODEL), folder / "net.onnx")
    with pytest.MonkeyPatch.context() as patch:
        for module in (choose_runtime, target_build):
            patch.setattr(module, "MEASURE_SECONDS", 0.01)
        options = {"targets": [{"machine": "host", "runtime": "tvm", "options": {"threads": 1}}]}
        yield tamis.compile(folder / "net.onnx", out=folder / "out", with_loader=True, set=options).path


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What there is to import without tamis."""
    return package_folder(tmp_path_factory.mktemp("packages") / "site")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, warnings as errors."""
    return make(EXAMPLE, tmp_path_factory.mktemp("program"), {"CXXFLAGS": "-O0 -Werror"})


def test_the_loader_computes_the_same_bits_without_tamis(bundle: Path, packages: Path, tmp_path: Path) -> None:
    assert b"main_transform_params" in (bundle / "model.so").read_bytes(), "the test needs weights that are packed"
    random = np.random.default_rng(0)
    feeds: dict[str, Any] = {name: random.standard_normal((2, 4)).astype(np.float32) for name in "xw"}
    np.savez(tmp_path / "in.npz", **feeds)
    ran = run_isolated(packages, "-c", COMPUTE, tmp_path / "in.npz", tmp_path / "out.npz", cwd=bundle)
    assert ran.returncode == 0, ran.stderr
    want = tamis.load(bundle)(feeds)
    with np.load(tmp_path / "out.npz") as got:
        assert {n: got[n].tobytes() for n in got.files} == {n: a.tobytes() for n, a in want.items()}


def test_the_loader_verifies_without_tamis(bundle: Path, packages: Path, tmp_path: Path) -> None:
    ran = run_isolated(packages, bundle / "tamis_bundle.py", "--verify", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "3 digests match; 6 golden outputs" in ran.stdout


def test_the_example_reproduces_every_output_and_notices_a_wrong_one(
    bundle: Path, program: Path, tmp_path: Path
) -> None:
    golden = dump(bundle, tmp_path / "golden")
    ran = run(program, golden)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" ok\n") == 6
    spoil(golden)
    ran = run(program, golden)
    assert ran.returncode == 3 and ran.stdout.count("DIFFERS") == 1


def test_the_example_says_what_is_wrong(bundle: Path, program: Path, tmp_path: Path) -> None:
    index = dump(bundle, tmp_path / "golden") / "bundle.txt"
    text = index.read_text()
    for old, new, status, message in (
        ("model.so", "nothing.so", 5, "tvm: "),
        ("weights embedded", "weights beside", 2, "hold their weights"),
        ("runtime tvm", "runtime other", 2, "not of: other"),
    ):
        index.write_text(text.replace(old, new))
        ran = run(program, index.parent)
        assert ran.returncode == status, ran.stderr
        assert message in ran.stderr
