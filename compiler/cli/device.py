"""``tamis device``: machines that compile nothing themselves, and run what others send them."""

from __future__ import annotations

from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json, table

app = typer.Typer(
    help="Serve this machine to others, or see what others serve. TVM's RPC has no authentication and executes what it "
    "is sent: trusted networks only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Host = Annotated[
    str, typer.Option(help="Address to listen at; 0.0.0.0 is every network that this machine is on, trusted ones only.")
]


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any that is free.")] = 9090,
    tracker: Annotated[
        str | None, typer.Option(help="host:port of a tracker that hands this machine to one client at a time.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="What the tracker calls this machine.")] = None,
) -> None:
    """Let others run models on this machine, until Ctrl-C.

    They upload, run, measure and tune models here, with link {rpc: host:port} in their recipes. Whoever can connect can run any code here: there is no authentication. Listens at the loopback address unless told
    otherwise.
    """
    from tamis.compiler.registry import DEVICES, load_attribute

    load_attribute(DEVICES["serve"])(host, port, tracker, key, typer.echo)


@app.command()
def track(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any that is free.")] = 9190,
) -> None:
    """Hand out registered machines by their keys, until Ctrl-C.

    Each goes to one client at a time; the others wait. Recipes name it by link {rpc: host:port, key: NAME}.
    """
    from tamis.compiler.registry import DEVICES, load_attribute

    load_attribute(DEVICES["track"])(host, port, typer.echo)


@app.command(name="list")
def list_(
    tracker: Annotated[str, typer.Option(help="host:port of the tracker.")],
    as_json: Json = False,
) -> None:
    """List the machines that a tracker knows, and how many are free."""
    from tamis.compiler.registry import DEVICES, load_attribute

    rows = load_attribute(DEVICES["list"])(tracker)
    if as_json:
        emit_json(rows)
    else:
        table(
            ("key", "addresses", "free", "waiting"),
            [(row["key"], ", ".join(row["addresses"]), row["free"], row["waiting"]) for row in rows],
        )


@app.command()
def root() -> None:
    """Make the arm64 system of link qemu; print its path."""
    from tamis.compiler.progress import Progress
    from tamis.compiler.registry import DEVICES, load_attribute

    with Progress("making the arm64 system") as progress:
        path = load_attribute(DEVICES["root"])(progress.update)
    typer.echo(path)
