"""A compile as a step of a build: what is up to date stays, what is in the cache is taken from there, the rest is built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import onnx
import pytest
from pydantic import JsonValue

from tamis.compiler import pipeline, registry
from tamis.compiler.bundle import MEASUREMENTS
from tamis.compiler.cache.store import Store
from tamis.compiler.incremental import build_key
from tamis.compiler.incremental.stamp import stamped
from tamis.compiler.versions import all_versions
from tests import planted
from tests.cli.conftest import Command, Ran


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """With a cache, and without taking time for measurements."""
    monkeypatch.setattr("tamis.compiler.target_build.MEASURE_SECONDS", 0.01)
    monkeypatch.delenv("TAMIS_CACHE")
    recipe = project / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("- fold-conv-affine", "- fold-conv-affine: {guard: 'off'}"))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that are really taken."""
    names: list[str] = []
    original = pipeline.Pipeline._apply

    def apply(self: pipeline.Pipeline, step: object, *rest: object) -> object:
        names.append(step.name)  # type: ignore[attr-defined]
        return original(self, step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline.Pipeline, "_apply", apply)
    return names


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MEASUREMENTS}


def compile_(tamis: Command, *more: object, out: str = "out") -> Ran:
    ran = tamis("compile", "recipe.yaml", "-o", out, "--quiet", *more)
    assert ran.status == 0, ran
    return ran


def state(ran: Ran) -> str:
    return str(json.loads(ran.out)[0]["state"])


def test_nothing_changed(tamis: Command, project: Path) -> None:
    compile_(tamis)
    before = {p: p.stat().st_mtime_ns for p in (project / "out").iterdir()}
    ran = compile_(tamis)
    assert ran.out == f"up to date: {project / 'out'}\n"
    assert {p: p.stat().st_mtime_ns for p in (project / "out").iterdir()} == before
    assert state(compile_(tamis, "--json")) == "up to date"


def test_the_time_of_a_file_says_nothing(tamis: Command, project: Path) -> None:
    compile_(tamis)
    for name in ("tiny.onnx", "calibration.npz", "recipe.yaml"):
        os.utime(project / name, (time.time() + 100, time.time() + 100))
    assert "up to date" in compile_(tamis).out


@pytest.mark.parametrize("changed", ["model", "samples", "recipe", "option"])
def test_what_makes_a_bundle_stale(tamis: Command, project: Path, changed: str) -> None:
    compile_(tamis)
    more: tuple[str, ...] = ()
    if changed == "model":
        model = onnx.load(project / "tiny.onnx")
        weights = next(t for t in model.graph.initializer if t.name == "W")
        weights.CopyFrom(onnx.numpy_helper.from_array(np.ones(weights.dims, np.float32), "W"))
        onnx.save(model, project / "tiny.onnx")
    elif changed == "samples":
        np.savez(project / "calibration.npz", x=np.ones((6, 3, 8, 8), np.float32))
    elif changed == "recipe":
        (project / "recipe.yaml").write_text((project / "recipe.yaml").read_text() + "seed: 3\n")
    else:
        more = ("--set", "seed=3")
    assert state(compile_(tamis, "--json", *more)) == "built"
    assert state(compile_(tamis, "--json", *more)) == "up to date"


def test_a_bundle_that_was_changed_is_not_up_to_date(tamis: Command, project: Path) -> None:
    compile_(tamis)
    whole = contents(project / "out")
    for name in ("model.onnx", "bundle.json", "golden.npz"):
        path = project / "out" / name
        path.write_bytes(path.read_bytes() + b" ")
        assert state(compile_(tamis, "--json")) == "restored"
        assert contents(project / "out") == whole
    (project / "out" / "golden.npz").unlink()
    assert state(compile_(tamis, "--json")) == "restored"
    assert contents(project / "out") == whole


def test_a_bundle_comes_back_from_the_cache(tamis: Command, project: Path, taken: list[str]) -> None:
    compile_(tamis)
    built = contents(project / "out")
    taken.clear()
    assert state(compile_(tamis, "--json", out="elsewhere")) == "restored"
    assert not taken
    assert contents(project / "elsewhere") == built
    assert tamis("verify", "elsewhere").status == 0
    assert state(compile_(tamis, "--json", out="one.zip")) == "restored"
    assert "up to date" in compile_(tamis, out="one.zip").out
    assert state(compile_(tamis, "--json", "--force")) == "built"
    assert taken


def test_only_what_follows_a_change_is_taken_again(tamis: Command, project: Path, taken: list[str]) -> None:
    text = (project / "recipe.yaml").read_text() + "  - convert-float16: {guard: 'off'}\n"
    (project / "recipe.yaml").write_text(text)
    compile_(tamis)
    all_steps = list(taken)
    taken.clear()
    compile_(tamis, "--set", "passes.convert-float16.on_violation=skip", out="resumed")
    assert taken == all_steps[all_steps.index("convert-float16") :]
    measurements = json.loads((project / "resumed" / MEASUREMENTS).read_text())
    assert measurements["reused_steps"] == all_steps.index("convert-float16")
    compile_(tamis, "--set", "passes.convert-float16.on_violation=skip", "--force", out="anew")
    assert contents(project / "resumed") == contents(project / "anew")
    manifests = [json.loads((project / name / "bundle.json").read_text()) for name in ("resumed", "out")]
    assert [s["verdict"] for s in manifests[0]["steps"]] == [s["verdict"] for s in manifests[1]["steps"]]


def test_a_failed_step_is_never_reused(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.passes.fusion.fold_conv_affine import FoldConvAffine

    def broken(*_: object) -> object:
        raise ValueError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(FoldConvAffine, "call", broken)
        assert tamis("compile", "recipe.yaml", "-o", "out", "--quiet").status == 5
    assert not (project / "out").exists()
    compile_(tamis)
    made = json.loads((project / "out" / "bundle.json").read_text())
    assert {s["name"]: s["verdict"] for s in made["steps"]}["fold-conv-affine"] == "kept"


def test_a_missed_budget_stays_missed(tamis: Command, project: Path) -> None:
    with (project / "recipe.yaml").open("a") as recipe:
        recipe.write("budget: {size: {max_mb: 0.000001}}\n")
    for _ in range(2):
        assert tamis("compile", "recipe.yaml", "-o", "out", "--quiet").status == 1
        assert not (project / "out").exists()
        shutil.rmtree(project / "out.missed")


def test_folders_and_users_do_not_matter(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_(tamis)
    other = project.parent / "other" / "clone"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns("out"))
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(project.parent / "other" / "cache"))
    monkeypatch.chdir(other)
    compile_(tamis)
    assert contents(other / "out") == contents(project / "out")
    monkeypatch.chdir(project)
    ran = tamis("compile", "tiny.onnx", "-r", "lossless", "-o", "a", "--quiet", "--calibration", "calibration.npz")
    monkeypatch.chdir(other)
    again = tamis("compile", "tiny.onnx", "-r", "lossless", "-o", "a", "--quiet", "--calibration", "calibration.npz")
    assert (ran.status, again.status) == (0, 0)
    assert contents(other / "a") == contents(project / "a")


def test_without_a_cache(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", "off")
    compile_(tamis)
    assert "up to date" in compile_(tamis).out
    assert state(compile_(tamis, "--json", out="elsewhere")) == "built"


def test_up_to_date_is_told_without_any_runtime(tamis: Command, project: Path) -> None:
    compile_(tamis)
    code = (
        "import sys; from tamis.compiler.cli.app import run; "
        "status = run(['compile', 'recipe.yaml', '-o', 'out']); "
        "print([n for n in ('onnx', 'onnx_ir', 'onnxruntime', 'onnxscript', 'scipy', 'tvm') if n in sys.modules]); "
        "sys.exit(status)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.splitlines() == [f"up to date: {project / 'out'}", "[]"]


@pytest.mark.usefixtures("slower_if_longer")
def test_a_compile_resumes_among_steps_that_are_measured_together(
    tamis: Command, project: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = registry.table("passes") | {planted.Slow.name: "tests.planted:Slow"}
    monkeypatch.setattr(registry, "table", lambda kind: names if kind == "passes" else dict(registry.TABLE[kind]))
    recipe = project / "recipe.yaml"
    head, _, _ = recipe.read_text().partition("passes:")
    recipe.write_text(f"{head}passes: [canonicalize, fold-conv-affine, slow, simplify-reshapes]\n")
    compile_(tamis, "--set", "passes.fold-conv-affine.guard=measure")
    taken.clear()
    changed = ("--set", "passes.simplify-reshapes.on_violation=skip")
    compile_(tamis, *changed, out="resumed")
    assert taken[0] == "simplify-reshapes"
    assert taken.count("slow") == 1, "the group was slower, so its steps are taken again one by one"
    compile_(tamis, *changed, "--force", out="anew")
    assert contents(project / "resumed") == contents(project / "anew")
    made = json.loads((project / "resumed" / "bundle.json").read_text())
    assert {s["name"]: s["verdict"] for s in made["steps"]}["slow"] == "undone"


def test_another_version_of_a_runtime(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_(tamis)
    found = all_versions()
    assert not {"ruff", "mypy", "pytest"} & found.keys(), "tools that only check this repository do not count"
    monkeypatch.setattr(build_key, "all_versions", lambda: {**found, "apache-tvm": "99"})
    assert state(compile_(tamis, "--json")) == "built"


NO_MODEL = b"\xff" * 40


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ({}, {}),
        ({"targets": [""]}, {"bundle.json": b"{}"}),
        ({"together": None}, {"graph": NO_MODEL}),
    ],
    ids=["nothing", "no bundle", "no model"],
)
def test_whole_entries_from_elsewhere_that_say_something_else(
    tamis: Command, project: Path, tmp_path: Path, data: dict[str, JsonValue], files: dict[str, bytes]
) -> None:
    """Who can write to a shared cache can put anything under a right key; what makes no sense is built again."""
    compile_(tamis)
    whole = contents(project / "out")
    store = Store(tmp_path / "cache")
    for key in store.entries.all_keys():
        store.put(key, store.entries.read(key).kind, data, files)
    assert state(compile_(tamis, "--json", out="elsewhere")) == "built"
    assert contents(project / "elsewhere") == whole
    assert state(compile_(tamis, "--json", out="elsewhere")) == "up to date"
    assert state(compile_(tamis, "--json", out="third")) == "restored"


def test_a_damaged_archive_that_was_packed_again_is_only_stale(tamis: Command, project: Path) -> None:
    compile_(tamis, out="out.zip")
    with ZipFile(project / "out.zip") as stored, ZipFile(project / "packed.zip", "w", ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    compile_(tamis, out="packed.zip")
    whole = (project / "packed.zip").read_bytes()
    for start in range(40, len(whole), len(whole) // 20):
        (project / "packed.zip").write_bytes(whole[:start] + b"\xff" * 8 + whole[start + 8 :])
        assert stamped(project / "packed.zip", "key") is None


def test_what_was_forced_takes_the_place_of_what_was_kept(tamis: Command, project: Path) -> None:
    compile_(tamis)
    compile_(tamis, "--force")
    forced = (project / "out" / MEASUREMENTS).read_bytes()
    assert state(compile_(tamis, "--json", out="elsewhere")) == "restored"
    assert (project / "elsewhere" / MEASUREMENTS).read_bytes() == forced


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "measurements.json"])
def test_an_output_that_is_called_as_a_file_of_a_bundle(tamis: Command, project: Path, name: str) -> None:
    compile_(tamis, out=f"models/{name}")
    assert (project / "models" / name / "golden.npz").is_file()
    (project / "models" / name / "golden.npz").unlink()
    assert state(compile_(tamis, "--json", out=f"models/{name}")) == "restored"
    assert (project / "models" / name / "golden.npz").is_file()
