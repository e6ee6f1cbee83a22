"""The Dockerfile: what a linter says of it, and what its commands do in a folder instead of a container."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

from tests.integrations.conftest import INTEGRATIONS, Example

DOCKERFILE = INTEGRATIONS / "docker" / "Dockerfile"
ALLOWED = ("DL3013", "DL3066")
"""Versions are the user's to pin, and the user's name suffices."""
ONLY_THE_RUNTIME = """
import runpy, sys
sys.modules["tamis"] = sys.modules["onnx"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def lint(text: str) -> list[str]:
    """Codes of what hadolint finds."""
    ignored = [word for code in ALLOWED for word in ("--ignore", code)]
    ran = subprocess.run(
        ["hadolint", "--format", "json", "--no-color", *ignored, "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [found["code"] for found in json.loads(ran.stdout)]


def instructions(word: str) -> list[str]:
    """What follows ``word`` in the Dockerfile, options of the instruction left out, in its order."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [re.sub(r"^(--\S+\s+)*", "", found) for found in re.findall(rf"^{word} +(.*)$", text, re.MULTILINE)]


def test_a_linter_finds_nothing(example: Callable[[str], Example]) -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert lint(text) == []
    assert lint(text.replace("WORKDIR /build", "WORKDIR build")) == ["DL3000"]
    assert lint(text.replace("FROM", "FORM", 1)) == ["DL1000"]


def test_its_commands_build_a_bundle_that_runs_without_tamis(example: Callable[[str], Example]) -> None:
    project = example("docker")
    (compile_,) = (command for command in instructions("RUN") if command.startswith("tamis"))
    project.run("sh", "-c", compile_.replace("/bundle", "bundle"))
    assert len(project.calls()) == 1
    python, *arguments = json.loads(instructions("CMD")[0])
    assert python == "python"
    alone = [sys.executable, "-c", ONLY_THE_RUNTIME, *arguments]
    bundle = Example(project.folder / "bundle", project.log)
    assert "golden outputs" in bundle.run(*alone)
    (bundle.folder / "model.onnx").write_bytes(b"damaged")
    assert "model.onnx" in bundle.run(*alone, fails=True)


def test_the_stage_that_runs_installs_nothing_of_tamis() -> None:
    installed = [command for command in instructions("RUN") if command.startswith("pip install")]
    assert installed == ["pip install tamis", "pip install numpy onnxruntime"]
