"""The Makefile explains itself, and CI calls what people call."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = {"help", "demo", "test", "fuzz", "check", "bench", "docs", "schema", "dist", "clean"}


def make(*arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_help_is_the_default_and_lists_every_target() -> None:
    listed = re.findall(r"^make (\w+) +\S", make(), re.MULTILINE)
    assert set(listed) == TARGETS
    assert len(listed) == len(TARGETS)


@pytest.mark.parametrize("target", sorted(TARGETS - {"help", "clean"}))
def test_a_target_makes_its_own_environment(target: str) -> None:
    commands = make("--dry-run", "--always-make", target)
    assert "-m venv .venv" in commands
    assert re.search(r"PYTHONPATH=src \.venv/bin/python -m \w+", commands)


def test_ci_runs_the_same_targets() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    used = set(re.findall(r"\bmake (\w+)", script.read_text(encoding="utf-8")))
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    used |= set(re.findall(r"run: make (\w+)", workflow))
    assert "run: .ci/run" in workflow
    assert {"check", "test"} <= used <= TARGETS
