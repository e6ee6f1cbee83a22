"""The ``tamis`` command: collects the commands, turns errors into messages and exit statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from tamis.compiler.cli import (
    analyze,
    build,
    build_many,
    cache,
    catalog,
    check,
    contrast,
    deploy,
    device,
    diff,
    doctor,
    export,
    scaffold,
    serve,
    sign,
    tune,
)
from tamis.compiler.cli.output import emit_error
from tamis.compiler.errors import TamisError

INTERRUPTED = 130

app = typer.Typer(
    name="tamis",
    help="A declarative model compiler: a YAML recipe compiles an ONNX model for the machines that it names.",
    epilog="Exit status: 0 ok, 1 budget missed, 2 usage or recipe error, 3 contract violated, "
    "4 target unavailable, 5 runtime failure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for function in (
    build.compile,
    build.plan,
    build_many.build,
    check.check,
    tune.tune,
    deploy.run,
    deploy.verify,
    diff.diff,
    serve.serve,
    export.export,
    export.import_,
    sign.keygen,
    sign.sign,
    sign.sbom,
    analyze.analyze,
    contrast.bench,
    contrast.compare,
    contrast.bisect,
    catalog.explain,
    catalog.list_,
    doctor.doctor,
):
    app.command(name=function.__name__.rstrip("_"))(function)
app.add_typer(cache.app, name="cache")
app.add_typer(device.app, name="device")
app.add_typer(scaffold.app, name="new")


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """A declarative model compiler: a YAML recipe compiles an ONNX model for the machines that it names."""
    if version:
        from tamis import __version__

        typer.echo(f"tamis {__version__}")
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status. Never lets an exception through, but under TAMIS_DEBUG=1."""
    as_json = "--json" in arguments
    try:
        app(args=list(arguments), prog_name="tamis")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except TamisError as error:
        emit_error(error, as_json=as_json)
        return error.exit_code
    except KeyboardInterrupt:
        typer.echo("tamis: interrupted; nothing was left half-written", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("TAMIS_DEBUG") == "1":
            raise
        text = f"defect of tamis: {type(error).__name__}: {error}"
        emit_error(TamisError(text, fix="run again with TAMIS_DEBUG=1 and report the traceback"), as_json=as_json)
        return TamisError.exit_code
    return 0
