"""The workflow for GitHub Actions fits the published schema, and its commands do in a folder what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import yaml
from jsonschema.validators import validator_for

from tests.integrations.conftest import INTEGRATIONS, Example

WORKFLOW = INTEGRATIONS / "github-actions" / "compile-models.yml"


def problems(workflow: dict[str, Any]) -> list[str]:
    """What GitHub's schema, which comes with check-jsonschema, says against a workflow."""
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "github-workflows.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    return [error.message for error in validator_for(schema)(schema).iter_errors(workflow)]


def workflow() -> dict[str, Any]:
    """The workflow; YAML 1.1 reads its key ``on`` as true."""
    found = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in found.items()}


def steps() -> list[dict[str, Any]]:
    """Steps of the only job."""
    (job,) = workflow()["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def test_it_fits_the_schema() -> None:
    right = workflow()
    assert problems(right) == []
    del right["jobs"]["compile"]["runs-on"]
    assert problems(right)


def test_its_commands_build_what_is_uploaded(example: Callable[[str], Example]) -> None:
    project = example("github-actions")
    commands = [step["run"] for step in steps() if "run" in step]
    assert commands[0] == "pip install tamis"
    for command in commands[1:]:
        project.run("bash", "-e", "-o", "pipefail", "-c", command)
    assert [call.split()[0] for call in project.calls()] == ["compile", "verify"]
    uploaded = [step["with"]["path"] for step in steps() if "upload-artifact" in step.get("uses", "")]
    assert uploaded
    assert all((project.folder / path).exists() for path in uploaded)
