"""What a pass decides place by place is in the manifest, counted in the report, and whole in ``--json``."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest

from tamis.compiler import registry
from tamis.compiler.bundle import open_bundle
from tamis.compiler.graph_pass import Contract, Detail, GraphPass, PassContext, PassOptions, PassResult, Stage
from tests.cli.conftest import Command, project, tamis

__all__ = ["project", "tamis"]


class Decides(GraphPass[PassOptions]):
    """Decides of three places and changes nothing."""

    name = "decides"
    stage = Stage.FUSE
    contract = Contract.EXACT

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        details = [Detail(place, "int8", "faster", {"float_us": 12.3456}) for place in ("a", "b")]
        return PassResult(model, False, details=(*details, Detail("c", "float", "too noisy")))


def test_details(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = registry.table("passes") | {"decides": f"{__name__}:Decides"}
    monkeypatch.setattr(registry, "table", lambda kind: names if kind == "passes" else dict(registry.TABLE[kind]))
    monkeypatch.setattr("tamis.compiler.target_build.MEASURE_SECONDS", 0.05)
    head, _, _ = (project / "recipe.yaml").read_text().partition("passes:")
    (project / "recipe.yaml").write_text(f"{head}passes: [decides]\n")
    ran = tamis("compile", "recipe.yaml", "-o", "out")
    assert ran.status == 0, ran
    assert "2 of 3 int8: faster; 1 of 3 float: too noisy" in ran.out
    step = open_bundle(project / "out").report.steps[0]
    assert [(d.place, d.got, d.why) for d in step.details] == [
        ("a", "int8", "faster"), ("b", "int8", "faster"), ("c", "float", "too noisy"),
    ]  # fmt: skip
    assert step.details[0].figures == {"float_us": 12.3}
    ran = tamis("compile", "recipe.yaml", "-o", "again", "--json")
    shown = json.loads(ran.out)[0]["report"]["steps"][0]["details"]
    assert shown[2] == {"place": "c", "got": "float", "why": "too noisy", "figures": {}}
