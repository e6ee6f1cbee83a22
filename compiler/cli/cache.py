"""``tamis cache``: the tuning database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json, table

app = typer.Typer(help="Show, move or clear the tuning database.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def ls(as_json: Json = False) -> None:
    """List what was measured: kind, workload, target, value."""
    from tamis.compiler.tuning_database import TuningDatabase

    with TuningDatabase() as database:
        rows = [r.to_dict() for r in database.items()]
    if as_json:
        emit_json(rows)
    else:
        cells = [(r["kind"], str(r["workload"])[:12], str(r["target"])[:12], r["value"]) for r in rows]
        table(("kind", "workload", "target", "value"), cells)


@app.command()
def path() -> None:
    """Print the path of the database file."""
    from tamis.compiler.tuning_database import default_path

    typer.echo(default_path())


@app.command()
def export(file: Annotated[Path, typer.Argument(help="JSON-lines file to write.")]) -> None:
    """Write all records to a file that another machine can import."""
    from tamis.compiler.tuning_database import TuningDatabase

    with TuningDatabase() as database:
        typer.echo(f"{database.export_to(file)} records written to {file}")


@app.command(name="import")
def import_(file: Annotated[Path, typer.Argument(help="JSON-lines file made by export.")]) -> None:
    """Add the records of a file."""
    from tamis.compiler.tuning_database import TuningDatabase

    with TuningDatabase() as database:
        typer.echo(f"{database.import_from(file)} records added from {file}")


@app.command()
def clear() -> None:
    """Remove every record and all statistics; the next compile measures again."""
    from tamis.compiler.tuning_database import remove_database

    typer.echo(f"removed {remove_database()}")
