"""``tamis check``: do recipes make sense? Without models, samples or devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json
from tamis.compiler.errors import TamisError


def check(
    recipes: Annotated[list[Path], typer.Argument(help="Recipe files.")],
    as_json: Json = False,
) -> None:
    """Check recipes: keys, types, names and what they extend. Exit status 2 if one is wrong; each problem is a line."""
    from tamis.compiler.recipe_file import load_recipe

    found: list[dict[str, object]] = []
    for path in recipes:
        try:
            load_recipe(path)
        except TamisError as error:
            found.append({"recipe": str(path), "ok": False, "error": error.to_dict()})
            if not as_json:
                typer.echo(f"tamis: error {error.code}: {error}", err=True)
        else:
            found.append({"recipe": str(path), "ok": True, "error": None})
    if as_json:
        emit_json(found)
    if not all(each["ok"] for each in found):
        raise typer.Exit(2)
