"""``tamis list`` and ``tamis explain``: what exists, and what it means."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json, table


class Kind(enum.StrEnum):
    """What can be listed."""

    PASSES = "passes"
    TARGETS = "targets"
    RECIPES = "recipes"
    MACHINES = "machines"
    METRICS = "metrics"
    DATASETS = "datasets"
    ERRORS = "errors"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: Json = False,
) -> None:
    """List what exists by name, with one line each."""
    from tamis.compiler.catalog import entries

    found = entries(kind)
    if as_json:
        emit_json([e.to_dict() for e in found])
        return
    extra = tuple(found[0].facts) if found else ()
    table(("name", *extra, "what it is"), [(e.name, *e.facts.values(), e.summary) for e in found])


def explain(
    name: Annotated[str, typer.Argument(help="A pass, runtime, machine, recipe, metric, or error code.")],
    as_json: Json = False,
) -> None:
    """Print the page of a pass, runtime, machine, recipe, metric or error code."""
    from tamis.compiler.catalog import explain as page_of

    kind, text = page_of(name)
    if as_json:
        emit_json({"kind": kind, "name": name, "page": text})
    else:
        typer.echo(text)
