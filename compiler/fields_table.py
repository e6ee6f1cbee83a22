"""The fields of a pydantic model as rows of text: name, type with bounds, default, description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "minItems": "items >=",
    "maxItems": "items <=",
}


@dataclass(frozen=True)
class Row:
    """One field. ``name`` has dots for a field of a field; ``default`` is JSON, or ``required``."""

    name: str
    type: str
    default: str
    description: str


def rows(model: type[BaseModel]) -> list[Row]:
    """The fields of ``model``, those of models in it after one another with dotted names."""
    schema = model.model_json_schema()
    return list(_rows(schema, schema.get("$defs", {}), ""))


def _rows(schema: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> Iterator[Row]:
    for name, field in schema["properties"].items():
        inner = _resolve(field, known)
        if "properties" in inner:
            yield from _rows(inner, known, f"{prefix}{name}.")
            continue
        default = json.dumps(field["default"]) if "default" in field else "required"
        yield Row(prefix + name, _type(field, known), default, field.get("description", inner.get("description", "")))


def _resolve(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return known[reference.rpartition("/")[2]] if reference else schema


def _type(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    schema = _resolve(schema, known)
    if "anyOf" in schema:
        return " or ".join(_type(choice, known) for choice in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = f"list of {_type(schema['items'], known)}" if "items" in schema else "list"
        return _bounded(items, schema)
    if schema.get("type") == "object":
        return "mapping"
    return _bounded(WORDS.get(schema.get("type", ""), "any"), schema)


def _bounded(text: str, schema: Mapping[str, Any]) -> str:
    return ", ".join([text, *(f"{sign} {_number(schema[key])}" for key, sign in BOUNDS.items() if key in schema)])


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def markdown(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *cells]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in lines)
