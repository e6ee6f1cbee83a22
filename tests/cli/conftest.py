"""A folder with a tiny model, data and a recipe, and a way to run the command in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.cli.app import run
from tamis.compiler.judge import Judge
from tamis.compiler.pipeline import count_nodes
from tamis.compiler.timings import Comparison

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (float[N, 3, 8, 8] x) => (float[N, 4] y)
<float[4, 3, 3, 3] W, float[4] scale = {1.0, 2.0, 0.5, 1.5}, float[4] shift = {0.1, 0.2, 0.3, 0.4},
 float[4] mean = {0.0, 0.1, 0.2, 0.3}, float[4] var = {1.0, 2.0, 1.0, 0.5}>
{
  c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, W)
  b = BatchNormalization<epsilon = 0.00001>(c, scale, shift, mean, var)
  r = Relu(b)
  g = GlobalAveragePool(r)
  dead = Exp(g)
  y = Flatten(g)
}
"""


@dataclass(frozen=True)
class Ran:
    """What a command did: its status and what it printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def tamis(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run ``tamis ARGUMENTS`` here, with a tuning database of its own, in an empty working directory."""
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    monkeypatch.chdir(work)

    def command(*arguments: object) -> Ran:
        capsys.readouterr()
        status = run([str(a) for a in arguments])
        printed = capsys.readouterr()
        return Ran(status, printed.out, printed.err)

    return command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with ``tiny.onnx``, ``calibration.npz``, ``evaluation.npz`` and ``recipe.yaml``."""
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    model = ir.from_onnx_text(
        MODEL, initializers=[ir.tensor(random.normal(size=(4, 3, 3, 3)).astype(np.float32), name="W")]
    )
    ir.save(model, folder / "tiny.onnx")
    x = random.normal(size=(6, 3, 8, 8)).astype(np.float32)
    np.savez(folder / "calibration.npz", x=x)
    np.savez(folder / "evaluation.npz", x=x, labels=np.arange(6) % 4)
    (folder / "recipe.yaml").write_text(
        "version: 1\n"
        "model: tiny.onnx\n"
        "inputs:\n"
        "  x: {shape: [1, 3, 8, 8]}\n"
        "data:\n"
        "  calibration: {npz: calibration.npz}\n"
        "  evaluation: {npz: evaluation.npz, metric: accuracy}\n"
        "passes:\n"
        "  - canonicalize\n"
        "  - fold-conv-affine\n"
    )
    return folder


@pytest.fixture
def slower_if_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts by the number of nodes: what is measured of a tiny model on a busy machine may be anything."""
    original = Judge.speedup

    def speedup(self: Judge, before: ir.Model, after: ir.Model, *_: float, legalize: bool = True) -> Comparison:
        found = original(self, before, after, 0.01, legalize=legalize)
        return replace(found, verdict="slower" if count_nodes(after) > count_nodes(before) else "undecided")

    monkeypatch.setattr(Judge, "speedup", speedup)
