"""The pipeline catches every planted wrong pass, names it, and undoes it when the recipe says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.compiler import registry
from tamis.compiler.bundle import open_bundle
from tests import planted
from tests.cli.conftest import Command, project, slower_if_longer, tamis

__all__ = ["project", "slower_if_longer", "tamis"]


@pytest.fixture(autouse=True)
def planted_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the planted passes into the registry, and measure for a moment only."""
    names = registry.table("passes") | {c.name: f"tests.planted:{c.__name__}" for c in planted.ALL}
    monkeypatch.setattr(registry, "table", lambda kind: names if kind == "passes" else dict(registry.TABLE[kind]))
    monkeypatch.setattr("tamis.compiler.target_build.MEASURE_SECONDS", 0.05)


def recipe(folder: Path, step: str, more: str = "") -> None:
    """A recipe of one step without ``fold-conv-affine`` before it."""
    text = (folder / "recipe.yaml").read_text()
    head, _, _ = text.partition("passes:")
    (folder / "recipe.yaml").write_text(f"{head}passes: [{step}]\n{more}")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("wrong-sign", "T301", "broke its contract 'close'"),
        ("not-exact", "T301", "broke its contract 'exact'"),
        ("nearly-close", "T301", "broke its contract 'close'"),
        ("too-lossy", "T301|T400", ""),
        ("makes-nan", "T301", "broke its contract 'lossy'"),
        ("liar", "T202", "modified=False"),
        ("invalid-graph", "T202", ""),
        ("crash", "T200", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_pass_is_caught_and_named(tamis: Command, project: Path, name: str, code: str, words: str) -> None:
    recipe(project, name)
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status in (1, 3, 5), ran
    assert ran.err.split()[2].rstrip(":") in code.split("|"), ran.err
    assert f"step 1 ({name})" in ran.err
    assert words in ran.err
    assert not (project / "out").exists()


@pytest.mark.parametrize("name", ["wrong-sign", "not-exact", "nearly-close"])
def test_the_first_wrong_node_is_named(tamis: Command, project: Path, name: str) -> None:
    recipe(project, name)
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert "Conv" in ran.err, ran.err


@pytest.mark.parametrize(
    "name", ["wrong-sign", "not-exact", "nearly-close", "too-lossy", "makes-nan", "liar", "invalid-graph", "crash"]
)
def test_skip_undoes_the_pass_and_goes_on(tamis: Command, project: Path, name: str) -> None:
    recipe(project, f"{{{name}: {{on_violation: skip}}}}, canonicalize")
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 0, ran
    first, second = open_bundle(project / "out").report.steps[:2]
    assert (first.name, first.verdict) == (name, "undone")
    assert first.reason
    assert (second.name, second.verdict) == ("canonicalize", "kept")


def test_the_guard_undoes_a_slower_step(tamis: Command, project: Path) -> None:
    recipe(project, "slow")
    assert tamis("compile", "recipe.yaml", "-o", "a", "--quiet", "--set", "inputs.x.shape=[1,3,8,8]").status == 0
    step = open_bundle(project / "a").report.steps[0]
    assert step.verdict == "undone", step
    assert "measured slower" in str(step.reason)
    assert tamis("compile", "recipe.yaml", "-o", "b", "--quiet", "--set", "passes.slow.guard=off").status == 0
    assert open_bundle(project / "b").report.steps[0].verdict == "kept"


@pytest.mark.usefixtures("slower_if_longer")
def test_lossless_steps_are_measured_together_and_one_by_one_if_slower(tamis: Command, project: Path) -> None:
    recipe(project, "fold-conv-affine, slow")
    assert tamis("compile", "recipe.yaml", "-o", "a", "--quiet", "--set", "inputs.x.shape=[1,3,8,8]").status == 0
    bundle = open_bundle(project / "a")
    assert [s.verdict for s in bundle.report.steps[:2]] == ["kept", "undone"]
    measured = list(bundle.measurements["guard"])
    assert measured[0].startswith("steps 1 to ")
    assert measured[1:3] == ["step 1 (fold-conv-affine)", "step 2 (slow)"]


@pytest.mark.usefixtures("slower_if_longer")
def test_lossless_steps_that_are_not_slower_are_measured_once(tamis: Command, project: Path) -> None:
    recipe(project, "canonicalize, fold-conv-affine, fuse-silu")
    assert tamis("compile", "recipe.yaml", "-o", "a", "--quiet").status == 0
    bundle = open_bundle(project / "a")
    assert bundle.report.steps[1].verdict == "kept"
    (measured,) = bundle.measurements["guard"]
    assert measured.startswith("steps 2 to ")


def test_a_lossy_step_over_the_accuracy_budget(tamis: Command, project: Path) -> None:
    """The step is undone, the compile fails with status 1, and the best bundle is kept aside."""
    recipe(project, "too-lossy", "budget: {accuracy: {max_drop: 0.01, min_sqnr: -100}}\n")
    labels_that_fit(project)
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 1, ran
    assert "budget.accuracy" in ran.err
    assert "accuracy would drop by" in ran.err
    assert "wanted at most 0.01" in ran.err
    assert not (project / "out").exists()
    assert open_bundle(project / "out.missed").report.steps[0].verdict == "undone"
    assert tamis("verify", "out.missed").status == 0


def labels_that_fit(folder: Path) -> None:
    """Label the evaluation data with what the model says, so that its accuracy is 1."""
    import numpy as np

    from tamis.compiler.runnable import open_runnable

    runner = open_runnable(folder / "tiny.onnx").runner
    with np.load(folder / "calibration.npz") as data:
        x = data["x"]
    labels = np.array([int(runner({"x": s[None]})["y"].argmax()) for s in x])
    np.savez(folder / "evaluation.npz", x=x, labels=labels)
