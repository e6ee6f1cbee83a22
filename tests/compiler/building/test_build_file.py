"""The build file: what it expands to, and errors at their positions."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tamis.compiler.building.build_schema import COMMAND, FILE_NAME, build_schema, schema_text
from tamis.compiler.building.job import Job
from tamis.compiler.building.make_jobs import make_jobs
from tamis.compiler.building.memory import BASE, COPIES, estimated, limit
from tamis.compiler.building.read_build_file import read_builds
from tamis.compiler.errors import RecipeError, TamisError

RECIPE = "version: 1\npasses: [canonicalize, fold-conv-affine]\n"
HEAD = "version: 1\nmodels: ['models/*.onnx']\nrecipes: [r.yaml]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models" / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/a"):
        (tmp_path / "models" / f"{name}.onnx").write_bytes(b"0" * 100)
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


def jobs(folder: Path, text: str, out: Path | None = None) -> list[Job]:
    (folder / "build.yaml").write_text(text)
    return make_jobs(read_builds(folder / "build.yaml"), out)


def refused(folder: Path, text: str) -> TamisError:
    with pytest.raises(TamisError) as caught:
        jobs(folder, text)
    assert caught.value.exit_code == 2
    return caught.value


def value(job: Job, path: str) -> Any:
    return job.sets[path]


def test_models_by_recipes_by_targets(folder: Path) -> None:
    text = (
        HEAD.replace("[r.yaml]", "[r.yaml, {recipe: lossless, name: best}]")
        + "targets: [host, {machine: cortex-a72}]\n"
    )
    found = jobs(folder, text)
    names = [job.names for job in found]
    expected = [(m, r, t) for r in ("r", "best") for m in "ab" for t in ("host", "cortex-a72")]
    assert names == expected
    assert found[0].out == folder / "build" / "a" / "r" / "host"
    assert (found[0].recipe, found[-1].recipe) == (str(folder / "r.yaml"), "lossless")
    assert [value(job, "targets")[0]["machine"] for job in found[:2]] == ["host", "cortex-a72"]


def test_a_recipe_keeps_its_own_targets_one_job_each(folder: Path) -> None:
    (folder / "r.yaml").write_text(RECIPE + "targets: [host, {machine: host, name: lean, passes: [canonicalize]}]\n")
    found = jobs(folder, HEAD + "set: {targets.lean.tune: {seconds: 7}}\nexclude: [{model: b*}]\n")
    assert [job.names[2] for job in found] == ["host", "lean"]
    assert value(found[1], "targets")[0]["tune"] == {"seconds": 7.0}
    assert [list(step) for step in value(found[1], "targets")[0]["passes"]] == [["canonicalize"]]
    assert list(found[1].sets) == ["targets"], "what was set of targets is in them already"


def test_the_most_special_override_wins(folder: Path) -> None:
    (folder / "b.npz").touch()
    text = (
        "version: 1\nset: {seed: 1, budget.size.max_mb: 9}\n"
        "models: ['models/*.onnx', {path: models/b.onnx, calibration: b.npz, set: {seed: 3}}]\n"
        "recipes: [{recipe: r.yaml, set: {seed: 2}}]\n"
    )
    a, b = jobs(folder, text)
    assert (value(a, "seed"), value(b, "seed"), value(b, "budget.size.max_mb")) == (2, 3, 9)
    assert (a.data, b.data) == ({}, {"calibration": folder / "b.npz"})
    arguments = b.arguments()
    assert arguments[:2] == ["compile", str(folder / "models" / "b.onnx")] and "seed=3" in arguments


def test_included_files_come_first_with_their_own_paths(folder: Path) -> None:
    (folder / "models" / "inner.yaml").write_text(
        "version: 1\nmodels: [b.onnx]\nrecipes: [../r.yaml]\nout: 'in/{model}'\n"
    )
    found = jobs(folder, HEAD + "include: [models/inner.yaml]\n", folder / "o")
    assert [job.out.relative_to(folder / "o").as_posix() for job in found] == ["in/b", "a/r/host", "b/r/host"]


def test_models_of_the_same_name_are_told_apart_by_folder(folder: Path) -> None:
    text = HEAD.replace("models/*", "models/**/*")
    error = refused(folder, text)
    assert "two bundles go to" in str(error) and "{folder}" in str(error)
    found = jobs(folder, text + "out: '{folder}/{model}.zip'\n")
    assert [job.out.relative_to(folder / "build").as_posix() for job in found] == [
        "models/a.zip",
        "models/b.zip",
        "models/deep/a.zip",
    ]


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("recipes", "recipies"), "build.yaml:3:1", "unknown key 'recipies' in build (did you mean 'recipes'?)"),
        (("version: 1", "version: 2"), "build.yaml:1:10", "expected 1"),
        (("r.yaml", "losless"), "build.yaml:3:11", "did you mean 'lossless'?"),
        (("r.yaml", "s.yaml"), "build.yaml:3:11", "there is no such recipe file"),
        (("models/*.onnx", "modles/*.onnx"), "build.yaml:2:10", "no model matches"),
        (("[r.yaml]", "[{recipe: r.yaml, sett: {}}]"), "build.yaml:3:28", "did you mean 'set'?"),
        (("[r.yaml]", "[r.yaml]\ntargets: [hots]"), "build.yaml:4:11", "did you mean 'host'?"),
        (("[r.yaml]", "[r.yaml]\nset: {passes.fold-conf-affine.guard: 'off'}"), "build.yaml:4:7", "fold-conv-affine"),
        (("[r.yaml]", "[r.yaml]\nset: {sede: 1}"), "build.yaml:4:7", "did you mean 'seed'?"),
        (("[r.yaml]", "[r.yaml]\nout: ../x"), "build.yaml:4:6", "leads outside"),
        (("[r.yaml]", "[r.yaml]\nout: '{modle}'"), "build.yaml:4:6", "{model}"),
        (("[r.yaml]", "[r.yaml]\nout: '{model.__class__}'"), "build.yaml:4:6", "{model}"),
        (("[r.yaml]", "[r.yaml]\nexclude: [{model: '*'}]"), "build.yaml", "nothing is left"),
        (("[r.yaml]", "[]"), "build.yaml:1:1", "there are no recipes"),
        (("[r.yaml]", "[r.yaml]\ninclude: [build.yaml]"), "build.yaml:4:11", "in a circle"),
        (("[r.yaml]", "[r.yaml]\ninclude: [none.yaml]"), "build.yaml:4:11", "there is no such build file"),
    ],
)
def test_errors_say_where(folder: Path, change: tuple[str, str], place: str, says: str) -> None:
    error = refused(folder, HEAD.replace(*change))
    assert error.where is not None and error.where.endswith(place), error
    assert says in str(error)


def test_a_file_that_is_none(folder: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such build file"):
        read_builds(folder / "none.yaml")
    assert "this is not a build file" in str(refused(folder, "[1]"))


def test_memory_follows_the_size_of_the_model(folder: Path) -> None:
    (folder / "models" / "a.onnx.data").write_bytes(b"0" * 1000)
    assert estimated(folder / "models" / "a.onnx") == BASE + COPIES * 1100
    assert estimated(folder / "models" / "b.onnx") == BASE + COPIES * 100
    assert limit() > 0


def test_the_committed_schema_is_fresh() -> None:
    committed = (files("tamis.recipes") / FILE_NAME).read_text(encoding="utf-8")
    assert committed == schema_text(), f"recipes/{FILE_NAME} is stale: run '{COMMAND}'"


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ("", True),
        ("targets: [host, {machine: host, runtime: onnxruntime, passes: [canonicalize]}]", True),
        ("set: {seed: 1}", True),
        ("targets: [hots]", False),
        ("sets: {}", False),
        ("exclude: [{modle: a}]", False),
    ],
)
def test_the_schema_has_the_opinion_of_the_reader(more: str, good: bool) -> None:
    schema = json.loads(json.dumps(build_schema()))
    jsonschema.Draft7Validator.check_schema(schema)
    assert jsonschema.Draft7Validator(schema).is_valid(yaml.safe_load(HEAD + more)) is good
