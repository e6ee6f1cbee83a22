"""What the commands print: JSON for scripts, tables for people, errors for both."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from tamis.compiler.errors import TamisError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


def emit_json(data: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(data, indent=2, default=str))


def emit_error(error: TamisError, *, as_json: bool) -> None:
    """The error: as JSON on stdout, or as one line on stderr that starts with its code."""
    if as_json:
        emit_json({"error": error.to_dict()})
    else:
        typer.echo(f"tamis: error {error.code}: {error}", err=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A table on stdout, as wide as the terminal or, when piped, as wide as it needs."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    grid = Table(*headers, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 240
    Console(width=width, highlight=False, markup=False).print(grid)


def fields(pairs: Mapping[str, object]) -> None:
    """``name  value`` lines with the values aligned."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        typer.echo(f"{name:<{width}}  {value}")
