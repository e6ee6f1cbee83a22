"""The JSON schema: fresh, a valid schema, and of the same opinion as the loader."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml

from tamis.compiler import registry
from tamis.compiler.recipe_schema import COMMAND, FILE_NAME, recipe_schema, schema_text
from tests.toy_registry import toys

__all__ = ["toys"]


def test_the_committed_schema_is_fresh() -> None:
    committed = (files("tamis.recipes") / FILE_NAME).read_text(encoding="utf-8")
    assert committed == schema_text(), f"recipes/{FILE_NAME} is stale: run '{COMMAND}'"


def test_it_is_a_schema_in_the_draft_that_editors_read() -> None:
    schema = json.loads(schema_text())
    jsonschema.Draft7Validator.check_schema(schema)
    text = schema_text()
    assert not [word for word in ("$defs", "prefixItems", "unevaluated", '"where"') if word in text]


def test_every_reference_leads_somewhere() -> None:
    schema = recipe_schema()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for child in node.values() for ref in references(child)]
        return [ref for child in node for ref in references(child)] if isinstance(node, list) else []

    used = {ref.removeprefix("#/definitions/") for ref in references(schema)}
    assert used == set(schema["definitions"])


@pytest.mark.usefixtures("toys")
def test_a_pass_shows_its_description_and_defaults() -> None:
    schema = recipe_schema()
    forms = schema["definitions"]["Step"]["oneOf"]
    assert {"const": "quantize-dynamic", "description": "Does nothing and has options."} in forms
    ratio = schema["definitions"]["quantize-dynamic-options"]["properties"]["ratio"]
    assert ratio == {"default": 0.5, "description": "Share.", "maximum": 1, "minimum": 0, "type": "number"}


def accepts(text: str) -> bool:
    return bool(jsonschema.Draft7Validator(recipe_schema()).is_valid(yaml.safe_load(text)))


HEAD = "version: 1\npasses: [canonicalize]\n"


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("text", "good"),
    [
        (HEAD, True),
        ("version: 1\nextends: a.yaml\n", True),
        ("version: 1\nextends: a.yaml\ninputs: {x: {range: [0, 1]}}\n", True),
        ("version: 1\npasses: [quantize-dynamic: {weights: int8}, fold-conv-affine: null]\n", True),
        (HEAD + "targets: [host, {machine: cortex-a72, runtime: onnxruntime, options: {threads: 1}}]\n", True),
        (HEAD + "inputs: {x: {shape: [N, 3], N: [1, 8]}}\n", True),
        ("version: 1\n", False),
        ("version: 2\npasses: []\n", False),
        (HEAD + "bugdet: {}\n", False),
        (HEAD + "budget: {size: {max_md: 1}}\n", False),
        ("version: 1\npasses: [canonicalise]\n", False),
        ("version: 1\npasses: [canonicalize: {a: 1}]\n", False),
        ("version: 1\npasses: [quantize-dynamic: {wieghts: int8}]\n", False),
        ("version: 1\npasses: [quantize-dynamic: {weights: int4}]\n", False),
        ("version: 1\npasses: [{canonicalize: null, fold-conv-affine: null}]\n", False),
        (HEAD + "targets: [hots]\n", False),
        (HEAD + "targets: []\n", False),
        (HEAD + "targets: [{machine: host, where: a}]\n", False),
        (HEAD + "targets: [{machine: host, options: {threads: 1}}]\n", False),
        (HEAD + "targets: [{machine: host, runtime: onnxruntime, options: {thread: 1}}]\n", False),
        (HEAD + "inputs: {x: {shape: [0]}}\n", False),
        (HEAD + "inputs: {x: {shape: [1], range: [1]}}\n", False),
        (HEAD + "inputs: {x: {shape: [N], N: [0, 1]}}\n", False),
        (HEAD + "data: {evaluation: {npz: a, metric: acuracy}}\n", False),
    ],
)
def test_what_it_accepts(text: str, good: bool) -> None:
    assert accepts(text) is good


def test_it_names_what_is_registered() -> None:
    schema = recipe_schema()
    forms = schema["definitions"]["Step"]["oneOf"]
    names = [*sorted(registry.table("passes")), *sorted(registry.GROUPS)]
    assert [form["const"] for form in forms if "const" in form] == names
    assert schema["properties"]["extends"]["examples"] == list(registry.recipe_names())
