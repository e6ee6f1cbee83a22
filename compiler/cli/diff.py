"""``tamis diff``."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json

DIFFERENT = 1


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="The older bundle: folder or zip.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The newer bundle: folder or zip.")],
    as_json: Json = False,
) -> None:
    """Explain what changed between two bundles: recipe, sources, versions, steps, layers, figures.

    Runs neither of them; 'compare' runs both and compares their outputs. Exit status: 0 if they are the same, 1 if they
    differ (as of diff), 2 if one cannot be read.
    """
    from tamis.compiler.diffing.bundle_changes import diff_bundles
    from tamis.compiler.diffing.change import shown

    changes = diff_bundles(a, b)
    if as_json:
        emit_json({"a": str(a), "b": str(b), "same": not changes, "changes": [c.to_dict() for c in changes]})
    elif not changes:
        typer.echo("identical")
    else:
        for section, members in groupby(changes, key=lambda c: c.section):
            typer.echo(section)
            for change in members:
                typer.echo(f"  {change.what}: {shown(change.a)} -> {shown(change.b)}")
    if changes:
        raise typer.Exit(DIFFERENT)
