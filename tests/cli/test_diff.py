"""``tamis diff`` on bundles that were really built."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import tamis as package
from tamis.compiler import target_build
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for measurements."""
    monkeypatch.setattr(target_build, "MEASURE_SECONDS", 0.01)


def built(project: Path, name: str, **changes: object) -> Path:
    """A bundle of the project's recipe."""
    return package.compile(recipe=project / "recipe.yaml", out=project / name, set=changes).path


def test_a_rebuild_and_its_zip_are_identical(tamis: Command, project: Path) -> None:
    a, b = built(project, "a"), built(project, "b.zip")
    (a / "measurements.json").unlink()
    ran = tamis("diff", a, b)
    assert (ran.status, ran.out) == (0, "identical\n")
    found = tamis("diff", a, b, "--json")
    assert found.status == 0 and json.loads(found.out)["same"] is True


def test_another_option_and_another_step_are_named(tamis: Command, project: Path) -> None:
    a = built(project, "a", seed=1)
    text = (project / "recipe.yaml").read_text()
    (project / "recipe.yaml").write_text(text.replace("  - fold-conv-affine\n", ""))
    ran = tamis("diff", a, built(project, "b", seed=2))
    assert ran.status == 1
    assert "  seed: 1 -> 2\n" in ran.out
    assert "  step fold-conv-affine: at place 2 -> (none)\n" in ran.out
    assert "  fold-conv-affine: kept -> (none)\n" in ran.out
    assert "  BatchNormalization nodes: 0 -> 1\n" in ran.out
    assert "sources" not in ran.out and "versions" not in ran.out


def test_changed_weights_and_sources_are_named(tamis: Command, project: Path) -> None:
    a = built(project, "a")
    model = ir.load(project / "tiny.onnx")
    weight = model.graph.initializers["W"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(2), name="W")
    ir.save(model, project / "tiny.onnx")
    ran = tamis("diff", a, built(project, "b"), "--json")
    found = json.loads(ran.out)
    assert ran.status == 1 and not found["same"]
    what = {(c["section"], c["what"]) for c in found["changes"]}
    assert {("sources", "tiny.onnx"), ("sources", "weights"), ("files", "model.onnx")} <= what
    assert any(s == "layers" and w.endswith(", values") for s, w in what)
    assert not any(s == "recipe" for s, _ in what)


def test_damaged_bundles_are_refused(tamis: Command, project: Path) -> None:
    a, b = built(project, "a"), built(project, "b")
    (b / "model.onnx").write_bytes(b"")
    ran = tamis("diff", a, b)
    assert ran.status == 2 and "T106" in ran.err and ran.out == ""
    assert tamis("diff", a, project / "none").status == 2


def test_no_difference_is_called_identical(tamis: Command, project: Path) -> None:
    """Parts of the manifest that have no section of their own count, too."""
    a, b = built(project, "a"), built(project, "b")
    manifest = json.loads((b / "bundle.json").read_text())
    for place, value in (
        ("details", [{"place": "n", "got": "x", "why": "y", "figures": {}}]),
        ("tolerance_needed", 0.5),
    ):
        changed = json.loads(json.dumps(manifest))
        changed["steps"][0][place] = value
        (b / "bundle.json").write_text(json.dumps(changed))
        ran = tamis("diff", a, b)
        assert ran.status == 1 and place in ran.out
