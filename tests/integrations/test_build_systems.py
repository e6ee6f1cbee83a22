"""Make, Ninja, CMake and Meson really build the examples: once, again when something has changed, and not otherwise."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
import pytest

from tests.integrations.conftest import Example

SYSTEMS: dict[str, tuple[str, list[list[str]], list[str], str]] = {
    "make": ("make", [], ["make"], "build/model/bundle.json"),
    "ninja": ("ninja", [], ["ninja"], "build/model/bundle.json"),
    "cmake-make": (
        "cmake",
        [["cmake", "-S", ".", "-B", "b", "-G", "Unix Makefiles"]],
        ["cmake", "--build", "b"],
        "b/model/bundle.json",
    ),
    "cmake-ninja": (
        "cmake",
        [["cmake", "-S", ".", "-B", "b", "-G", "Ninja"]],
        ["cmake", "--build", "b"],
        "b/model/bundle.json",
    ),
    "meson": ("meson", [["meson", "setup", "b"]], ["meson", "compile", "-C", "b"], "b/model.zip"),
}
"""Name -> folder, commands that configure, the command that builds, and what it makes."""


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_builds_what_has_changed(example: Callable[[str], Example], system: str) -> None:
    name, configure, build, product = SYSTEMS[system]
    project = example(name)
    for command in configure:
        project.run(*command)
    made = project.folder / product

    def builds(*, fails: bool = False) -> tuple[int, str]:
        said = project.run(*build, fails=fails)
        return len(project.calls()), said

    assert builds()[0] == 1
    assert seed(made) in (0, 1)
    assert builds()[0] == 0, "nothing has changed"

    later(project.folder / "unrelated.txt", "x")
    assert builds()[0] == 0

    recipe = project.folder / "recipe.yaml"
    later(recipe, recipe.read_text() + "budget: {size: {max_mb: 1}}\n")
    assert builds()[0] == 1
    assert builds()[0] == 0

    model = onnx.load(project.folder / "model.onnx")
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "W"))
    later(project.folder / "model.onnx", model.SerializeToString())
    before = content(made)
    assert builds()[0] == 1, "the model is in no rule: the depfile tells that it was read"
    assert content(made) != before

    time.sleep(0.01)  # longer than a tick of the clock that files get their times from
    os.utime(project.folder / "model.onnx")
    before = content(made)
    assert builds()[0] == 1
    assert content(made) == before
    later(recipe, "version: 1\nextends: lossles\nmodel: model.onnx\n")
    calls, said = builds(fails=True)
    assert calls == 1
    assert "did you mean 'lossless'?" in said
    assert content(made) == before


def test_a_bundle_that_is_not_there_is_not_made_up(example: Callable[[str], Example]) -> None:
    """Several targets make a folder each; the rule then calls tamis each time, which finds them up to date."""
    project = example("make")
    with (project.folder / "recipe.yaml").open("a") as recipe:
        recipe.write("targets: [host, {name: other, machine: host}]\n")
    project.run("make")
    assert sorted(p.name for p in (project.folder / "build" / "model").iterdir()) == ["host", "other"]
    assert "up to date" in project.run("make")


def later(path: Path, text: str | bytes) -> None:
    """Write a file, and see to it that it is younger than what was built before it."""
    time.sleep(0.01)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def content(made: Path) -> bytes:
    """The manifest."""
    if made.suffix == ".zip":
        with ZipFile(made) as archive:
            return archive.read("bundle.json")
    return made.read_bytes()


def seed(made: Path) -> int:
    found: int = json.loads(content(made))["recipe"]["seed"]
    return found
