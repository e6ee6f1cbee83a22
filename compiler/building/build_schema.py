"""The JSON schema of the build file, for editors: ``python -m tamis.compiler.building.build_schema`` writes it."""

from __future__ import annotations

import sys

from tamis.compiler.building.build_file import BuildFile
from tamis.compiler.recipe_schema import Schema, as_text, recipe_schema, tidy, write_schema

FILE_NAME = "build.schema.json"
COMMAND = "python -m tamis.compiler.building.build_schema"
SHORT = {"models": "A file or a pattern.", "recipes": "A shipped recipe or a path."}
"""List -> what an entry that is only text stands for."""


def build_schema() -> Schema:
    """The schema of build files, short forms included; targets are those of the recipe."""
    recipe = recipe_schema()
    schema = tidy(BuildFile.model_json_schema())
    definitions = schema.pop("$defs")
    properties = schema["properties"]
    for key, text in SHORT.items():
        short = {"type": "string", "minLength": 1, "description": text}
        properties[key]["items"] = {"oneOf": [short, properties[key]["items"]]}
    targets = {**recipe["properties"]["targets"], "description": properties["targets"]["description"]}
    targets.pop("default")
    properties["targets"] = targets
    needed = {**recipe["definitions"], **definitions}
    return {
        "title": "tamis build",
        "$schema": "http://json-schema.org/draft-07/schema#",
        **schema,
        "definitions": {name: needed[name] for name in sorted(_reached(schema, needed))},
    }


def _reached(node: object, definitions: Schema) -> set[str]:
    """Names of the definitions that a part of the schema leads to."""
    found: set[str] = set()
    todo = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            name = str(one["$ref"]).removeprefix("#/definitions/") if isinstance(one.get("$ref"), str) else None
            if name is not None and name not in found:
                found.add(name)
                todo.append(definitions[name])
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)
    return found


def schema_text() -> str:
    """The schema as the text of the committed file."""
    return as_text(build_schema())


if __name__ == "__main__":
    sys.exit(write_schema(FILE_NAME, schema_text()))
