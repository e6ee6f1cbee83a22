"""``tamis build`` from the command line: real compiles, the summary, JSON and JUnit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from tamis.compiler.bundle import open_bundle
from tests.cli.conftest import Command

RECIPE = "version: 1\ninputs: {x: {shape: [1, 3, 8, 8]}}\npasses: [canonicalize]\ntargets: [{machine: cortex-a72, runtime: onnxruntime, link: none}]\n"


@pytest.fixture
def build(project: Path) -> Path:
    """Builds ``tiny.onnx`` and ``broken.onnx``, by one recipe, without measuring."""
    (project / "broken.onnx").write_bytes(b"no model")
    (project / "r.yaml").write_text(RECIPE)
    path = project / "build.yaml"
    path.write_text("version: 1\nmodels: ['*.onnx']\nrecipes: [r.yaml]\nout: '{model}/{recipe}'\n")
    return path


def test_good_and_bad_models(tamis: Command, build: Path) -> None:
    ran = tamis("build", build, "--keep-going", "--jobs", 1, "--json", "--junit", "j.xml")
    assert ran.status == 2, ran
    found = json.loads(ran.out)
    assert found["exit_code"] == 2
    broken, tiny = found["jobs"]
    assert (broken["model"], broken["verdict"], tiny["model"], tiny["verdict"]) == ("broken", "failed", "tiny", "built")
    assert broken["reason"].startswith("T103: ")
    assert not (build.parent / "build" / "broken" / "r").exists()
    bundle = open_bundle(build.parent / "build" / "tiny" / "r")
    assert tiny["bytes"] == bundle.report.files[bundle.report.artifact[0]].bytes
    suite = xml.parse(build.parent / "j.xml").getroot()
    assert (suite.get("tests"), suite.get("errors")) == ("2", "1")


def test_fail_fast_leaves_the_rest(tamis: Command, build: Path) -> None:
    ran = tamis("build", build, "--jobs", 1)
    assert ran.status == 2, ran
    assert "1 failed" in ran.out and "T103" in ran.out
    assert not (build.parent / "build" / "broken" / "r").exists()


def test_a_dry_run_builds_nothing(tamis: Command, build: Path) -> None:
    ran = tamis("build", build, "--dry-run", "--json")
    assert ran.status == 0
    assert [job["model"] for job in json.loads(ran.out)["jobs"]] == ["broken", "tiny"]
    assert "tiny" in tamis("build", build, "--dry-run").out
    assert not (build.parent / "build").exists()


def test_errors_of_the_file_come_before_any_work(tamis: Command, build: Path) -> None:
    shutil.copy(build, build.with_name("wrong.yaml"))
    build.with_name("wrong.yaml").write_text(build.read_text().replace("recipes", "recipies"))
    ran = tamis("build", "wrong.yaml", "--json")
    assert ran.status == 2
    assert json.loads(ran.out)["error"]["where"] == "wrong.yaml:3:1"
    assert not (build.parent / "build").exists()


def test_a_scheduler_that_is_none(tamis: Command, build: Path) -> None:
    ran = tamis("build", build, "--scheduler", "here")
    assert ran.status == 2
    assert "expected tcp://HOST:PORT or local" in ran.err
