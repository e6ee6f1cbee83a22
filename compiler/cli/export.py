"""``tamis export`` and ``tamis import``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json, fields
from tamis.compiler.errors import UsageError


class Format(StrEnum):
    """What a bundle can be exported as."""

    oci = "oci"
    triton = "triton"


def export(
    bundle: Annotated[Path, typer.Argument(help="A bundle: folder or zip.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="oci: a folder, or a path that ends in .tar; triton: the model repository."),
    ],
    format_: Annotated[Format, typer.Option("--format", "-f", help="Form to write.")] = Format.oci,
    tag: Annotated[str | None, typer.Option("--tag", help="oci: tag of the artifact; default: latest.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="triton: name of the model; default: from the source model.")
    ] = None,
    max_batch_size: Annotated[
        int | None, typer.Option("--max-batch-size", min=0, help="triton: samples that may share a call; default: 0.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a bundle as an OCI artifact layout, or into a Triton model repository."""
    from tamis.compiler.bundle import open_bundle

    foreign = {"--tag": tag} if format_ is Format.triton else {"--name": name, "--max-batch-size": max_batch_size}
    if given := [option for option, value in foreign.items() if value is not None]:
        raise UsageError("does not go with this format", where=given[0], found=format_.value, fix="leave it out")
    opened = open_bundle(bundle)
    if format_ is Format.oci:
        from tamis.compiler.exporting.oci_layout import export_oci

        digest = export_oci(opened, out, tag=tag or "latest")
        done = {"bundle": str(bundle), "format": "oci", "written": str(out), "digest": digest}
        notes: tuple[str, ...] = ()
    else:
        from tamis.compiler.exporting.triton import export_triton

        made = export_triton(opened, out, name=name, max_batch=max_batch_size or 0)
        done = {"bundle": str(bundle), "format": "triton", "written": str(made.path), "name": made.name}
        notes = made.notes
    if as_json:
        emit_json({**done, "notes": list(notes)})
        return
    fields(done)
    for note in notes:
        typer.echo(f"note  not in the configuration: {note}")


def import_(
    source: Annotated[Path, typer.Argument(help="An OCI layout with a bundle: folder or .tar.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle to write.")],
    tag: Annotated[
        str | None, typer.Option("--tag", help="Which artifact of the layout; default: the only one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read a bundle back from an OCI layout, and check every digest."""
    from tamis.compiler.exporting.oci_reader import import_oci

    import_oci(source, out, tag=tag)
    done = {"source": str(source), "written": str(out)}
    emit_json(done) if as_json else fields(done)
