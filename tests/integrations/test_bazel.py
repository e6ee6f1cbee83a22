"""Bazel really builds the example, in its sandbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.integrations.conftest import Example

IDLE_SECONDS = 60


@pytest.fixture
def bazel(tmp_path: Path, example: Callable[[str], Example]) -> Iterator[tuple[Example, list[str]]]:
    """The example, and the words that a command of Bazel begins with; its server ends with the test."""
    project = example("bazel")
    (project.folder / "WORKSPACE").touch()  # older than MODULE.bazel, and wanted by Debian's Bazel
    root = tmp_path / "root"
    start = ["bazel", f"--output_user_root={root}", f"--max_idle_secs={IDLE_SECONDS}", "--nohome_rc"]
    yield project, [*start, "--host_jvm_args=-XX:ActiveProcessorCount=1"]
    project.run(*start, "--host_jvm_args=-XX:ActiveProcessorCount=1", "shutdown")
    for folder in [root, *(p for p in root.rglob("*") if p.is_dir() and not p.is_symlink())]:
        folder.chmod(0o755)
    shutil.rmtree(root)


def test_it_builds_what_has_changed(bazel: tuple[Example, list[str]]) -> None:
    project, start = bazel
    passed = [f"--action_env={name}" for name in ("PATH", "PYTHONPATH")]
    writable = f"--sandbox_writable_path={project.log.parent}"

    def builds(*, fails: bool = False) -> tuple[int, str]:
        said = project.run(*start, "build", "//:model", "--jobs=1", writable, *passed, fails=fails)
        return len(project.calls()), said

    calls, said = builds()
    assert calls == 1
    assert "tamis: warning" not in said
    with ZipFile(project.folder / "bazel-bin" / "model.zip") as bundle:
        assert "bundle.json" in bundle.namelist()

    (project.folder / "unrelated.txt").write_text("x")
    os.utime(project.folder / "model.onnx")
    assert builds()[0] == 0, "Bazel looks at contents"

    recipe = project.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("lossless", "lossles"))
    calls, said = builds(fails=True)
    assert calls == 1
    assert "recipe.yaml:3:10: there is no recipe 'lossles' (did you mean 'lossless'?)" in said
    recipe.write_text(recipe.read_text().replace("lossles", "lossless"))
    weights = project.folder / "model.onnx"
    weights.write_bytes(weights.read_bytes().replace(b"example", b"changed"))
    assert builds()[0] == 1
