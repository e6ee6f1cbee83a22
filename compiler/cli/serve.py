"""``tamis serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles (folder or zip), or folders of bundles.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is reached from this machine only.")
    ] = LOOPBACK[0],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    name: Annotated[str | None, typer.Option(help="Name of the model; default: of the folder or zip file.")] = None,
    max_request_mb: Annotated[int, typer.Option(min=1, help="Largest body of a request, megabytes.")] = 64,
    as_json: Json = False,
) -> None:
    """Answer the Open Inference Protocol v2 over HTTP, for smoke tests; SIGTERM or Ctrl-C ends it."""
    from tamis.compiler.limits import MEGA
    from tamis.compiler.serving.protocol_app import protocol_app
    from tamis.compiler.serving.served_model import load_served
    from tamis.compiler.serving.server import address_of, bind, listen, require_serve

    require_serve()
    bound = bind(host, port)
    try:
        models = load_served(bundles, name)
    except BaseException:
        bound.close()
        raise
    address = address_of(bound)
    if host not in LOOPBACK:
        typer.echo(
            f"tamis: warning: {address} may be reached from other machines; nothing asks for a password", err=True
        )

    def ready() -> None:
        if as_json:
            emit_json({"address": address, "models": list(models)})
        else:
            typer.echo(f"{address}/v2 serves {', '.join(models)}")

    listen(protocol_app(models, max_request_mb * MEGA), bound, ready)
