"""``tamis new``: files for a new pass, target or recipe that pass ``make check`` as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Write the files of a new pass, target or recipe.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Kebab-case name, e.g. fuse-hard-swish.")]
Root = Annotated[Path, typer.Option(help="Checkout of tamis to write into.")]


def _show(written: list[Path]) -> None:
    for path in written:
        typer.echo(path)


@app.command(name="pass")
def pass_(
    name: Name,
    family: Annotated[str, typer.Option(help="Folder under passes/, e.g. fusion.")] = "fusion",
    root: Root = Path(),
) -> None:
    """A pass, its test, and its line in the registry."""
    from tamis.compiler.scaffold import new_pass

    _show(new_pass(name, family, root))


@app.command()
def target(name: Name, root: Root = Path()) -> None:
    """A runtime, its test, and its line in the registry."""
    from tamis.compiler.scaffold import new_runtime

    _show(new_runtime(name, root))


@app.command()
def recipe(name: Name, root: Root = Path()) -> None:
    """A shipped recipe."""
    from tamis.compiler.scaffold import new_recipe

    _show(new_recipe(name, root))
