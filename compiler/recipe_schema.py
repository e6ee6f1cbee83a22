"""The JSON schema of the recipe format, for editors: ``python -m tamis.compiler.recipe_schema`` writes it.

It is made from the models in ``recipe`` and the options of the installed passes and runtimes (JSON Schema
draft 7, which YAML language servers know best). ``tamis`` itself does not read it.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import as_file, files
from typing import Any

from pydantic import BaseModel

from tamis.compiler import registry
from tamis.compiler.graph_pass import PassOptions
from tamis.compiler.recipe import Recipe
from tamis.compiler.recipe_check import HOST

FILE_NAME = "recipe.schema.json"
COMMAND = "python -m tamis.compiler.recipe_schema"

Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """The schema of recipe files, short forms and ``extends`` included."""
    schema = Recipe.model_json_schema()
    definitions: Schema = schema.pop("$defs")
    definitions["Step"] = _step(definitions)
    definitions["TargetSection"] = _target(definitions["TargetSection"], definitions)
    del definitions["InputSection"]["required"]  # with extends, the shape may stand in the other recipe
    for key, kind in (("metric", "metrics"), ("dataset", "datasets")):
        if names := sorted(registry.table(kind)):
            definitions["DataSource"]["properties"][key]["anyOf"][0]["enum"] = names
    properties = schema.pop("properties")
    properties["targets"]["default"] = [HOST]
    extends = {
        "type": "string",
        "description": "A shipped recipe, or the path of another one, that this one changes: mappings are merged, "
        "lists are replaced, null unsets.",
        "examples": list(registry.recipe_names()),
    }
    version = {"version": properties.pop("version")}
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **schema,
        "description": "What to do to a model, for which machines, within which budgets.",
        "required": ["version"],
        "anyOf": [{"required": ["passes"]}, {"required": ["extends"]}],
        "properties": {**version, "extends": extends, **properties},
        "definitions": dict(sorted(definitions.items())),
    }
    return {"title": "tamis recipe", **tidy(whole)}


def _step(definitions: Schema) -> Schema:
    """A pass by name, or its name with options."""
    names, mappings = [], []
    for name in sorted(registry.table("passes")):
        cls = registry.pass_class(name)
        text = _summary(cls)
        definitions[f"{name}-options"] = _options(cls.options_type, definitions)
        options = {"description": text, "anyOf": [{"$ref": f"#/definitions/{name}-options"}, {"type": "null"}]}
        names.append({"const": name, "description": text})
        mappings.append(_mapping({name: options}, required=[name]))
    definitions["group-options"] = _options(PassOptions, definitions)
    for name, members in sorted(registry.GROUPS.items()):
        text = f"The steps {', '.join(members)}."
        options = {"description": text, "anyOf": [{"$ref": "#/definitions/group-options"}, {"type": "null"}]}
        names.append({"const": name, "description": text})
        mappings.append(_mapping({name: options}, required=[name]))
    return {"description": "A pass or a group of passes, by name or with options.", "oneOf": [*names, *mappings]}


def _target(full: Schema, definitions: Schema) -> Schema:
    """A machine by name, or a mapping; the options follow the runtime."""
    machines = [HOST, *registry.machine_names()]
    properties = {key: value for key, value in full["properties"].items() if key != "where"}
    properties["machine"]["enum"] = machines
    runtimes = sorted(registry.table("targets"))
    properties["runtime"]["anyOf"][0]["enum"] = runtimes
    branches = []
    for name in runtimes:
        cls = registry.runtime_class(name)
        definitions[f"{name}-options"] = {**_options(cls.options_type, definitions), "description": _summary(cls)}
        then = {"properties": {"options": {"$ref": f"#/definitions/{name}-options"}}}
        given = {"properties": {"runtime": {"const": name}}, "required": ["runtime"]}
        branches.append({"if": given, "then": then})
    dependencies = {"options": ["runtime"]}
    mapping = {**full, "properties": properties, "dependencies": dependencies, "allOf": branches}
    return {"oneOf": [{"enum": machines, "description": "A machine, with its preferred runtime."}, mapping]}


def _summary(cls: type[Any]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _mapping(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _options(model: type[BaseModel], definitions: Schema) -> Schema:
    schema = model.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    schema.pop("description", None)
    return schema


def tidy(node: Any) -> Any:
    """Draft 7 forms: definitions, tuples of equal items as arrays; no titles made from names in the code."""
    if isinstance(node, list):
        return [tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidied = {}
    for key, value in node.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "$ref":
            value = value.replace("#/$defs/", "#/definitions/")
        if key == "prefixItems":
            key, value = "items", value[0] if all(item == value[0] for item in value) else value
        tidied[key] = tidy(value)
    return tidied


def schema_text() -> str:
    """The schema as the text of the committed file."""
    return as_text(recipe_schema())


def as_text(schema: Schema) -> str:
    """A schema as the text of a committed file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schema(name: str, text: str) -> int:
    """Write a schema into the package's recipes folder; an exit status."""
    with as_file(files("tamis.recipes")) as folder:
        path = folder / name
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(write_schema(FILE_NAME, schema_text()))
