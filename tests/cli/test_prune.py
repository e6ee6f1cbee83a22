"""Pruning through the command line: a goal that is measured, a goal that is missed, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import yaml

from tamis.compiler.bundle import MEASUREMENTS, open_bundle
from tamis.passes.pruning.allocation.macs_cost import MacsCost
from tests.cli.conftest import Command
from tests.models import random
from tests.passes.pruning import redundant


@pytest.fixture
def folder(tamis: Command) -> Path:
    """The working directory, with the model and samples."""
    ir.save(redundant.net(64), "net.onnx")
    np.savez("samples.npz", x=np.concatenate([random(1, 6, 64, 64, seed=100 + i) for i in range(24)]))
    return Path.cwd()


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for a moment only at the end."""
    monkeypatch.setattr("tamis.compiler.target_build.MEASURE_SECONDS", 0.05)


def write(folder: Path, **step: object) -> None:
    recipe = {
        "version": 1,
        "model": "net.onnx",
        "data": {"calibration": {"npz": "samples.npz"}},
        "passes": ["canonicalize", {"prune-channels": step}],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def test_a_latency_is_reached_and_decided_once(tamis: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of widths is by MACs here, since a busy machine may see no gain; what comes out is measured."""
    monkeypatch.setattr("tamis.passes.pruning.planning.goal.measure_latency", lambda graph, *_, **__: MacsCost(graph))
    write(folder, latency=0.8, guard="off", multiple=16)
    for out in ("a", "b"):
        ran = tamis("compile", "recipe.yaml", "-o", out, "--quiet")
        assert ran.status in (0, 1), ran  # whether it is reached is for a quiet machine to say
        if ran.status:
            (folder / f"{out}.missed").rename(folder / out)
    step = next(s for s in open_bundle(folder / "a").report.steps if s.name == "prune-channels")
    assert step.counts["units removed"] == 16 and step.counts["layers refitted"] >= 1
    assert {d.place for d in step.details} == {"Conv_a", "the model"}
    files = [{p.name: p.read_bytes() for p in (folder / out).iterdir() if p.name != MEASUREMENTS} for out in "ab"]
    assert files[0] == files[1]


def test_a_goal_that_is_missed(tamis: Command, folder: Path) -> None:
    write(folder, macs=0.05, min_keep=0.5, multiple=8, guard="off")
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 1
    assert "goal of step 2 (prune-channels): wanted macs at 0.05 of the model as given, got 0." in ran.err
    assert not (folder / "out").exists()
    assert tamis("verify", "out.missed").status == 0


def test_without_samples_nothing_begins(tamis: Command, folder: Path) -> None:
    ran = tamis("compile", "net.onnx", "-r", "prune", "-o", "out", "--quiet")
    assert ran.status == 2 and "there are no calibration samples" in ran.err
    assert "--calibration" in ran.err


def test_two_goals_are_refused(tamis: Command, folder: Path) -> None:
    write(folder, macs=0.5, latency=0.5)
    ran = tamis("compile", "recipe.yaml", "-o", "out")
    assert ran.status == 2 and "give one goal: latency, macs, size or max_drop; found latency and macs" in ran.err
