"""A small bundle of ONNX Runtime with a loader."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import pytest

import tamis
from tamis.compiler import target_build
from tests.compiler.loader.loaders import TARGET
from tests.examples.isolated import package_folder

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x, int64[1] at) => (float[N, 4] y, float[N, 1] z) {
    r = Sigmoid(x)
    y = Softmax(r)
    z = Gather<axis = 1>(y, at)
}
"""


@pytest.fixture(scope="module", autouse=True)
def brief() -> Iterator[None]:
    """No time for measurements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_build, "MEASURE_SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside its model."""
    folder = tmp_path_factory.mktemp("recipe")
    ir.save(ir.from_onnx_text(MODEL), folder / "net.onnx")
    text = "version: 1\nmodel: net.onnx\ninputs: {x: {shape: [N, 4], N: [1, 3]}, at: {shape: [1], range: [0, 3]}}\n"
    text += "passes: [canonicalize]\n"
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def built(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a loader."""
    out = tmp_path_factory.mktemp("built") / "out"
    return tamis.compile(recipe=recipe, out=out, with_loader=True, set={"targets": [TARGET]}).path


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be damaged."""
    return shutil.copytree(built, tmp_path / "bundle")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What there is to import without tamis."""
    return package_folder(tmp_path_factory.mktemp("packages") / "site")
