"""``tamis keygen``, ``tamis sign`` and ``tamis sbom``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, emit_json, fields
from tamis.compiler.errors import OutputError, UsageError

PASSWORD = "TAMIS_KEY_PASSWORD"
"""Variable with the password of a secret key."""


def keygen(
    stem: Annotated[Path, typer.Argument(help="STEM.key and STEM.pub are written.")],
    no_password: Annotated[bool, typer.Option("--no-password", help="Leave the secret key unencrypted.")] = False,
    as_json: Json = False,
) -> None:
    """Make a pair of keys to sign bundles with, in minisign's format."""
    from tamis.compiler.provenance.signing import create_keys

    if not stem.name or stem.name == "..":
        raise UsageError("is not a name for keys", where=str(stem), expected="a path that ends in a name")
    secret, public = stem.with_name(f"{stem.name}.key"), stem.with_name(f"{stem.name}.pub")
    password = None if no_password else _password(new=True)
    if password == "":
        raise UsageError("the secret key has no password", fix=f"set {PASSWORD}, or say --no-password")
    line = create_keys(secret, public, password)
    done = {"secret": str(secret), "public": str(public), "public_key": line}
    emit_json(done) if as_json else fields(done)


def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle: folder or zip.")],
    key: Annotated[Path, typer.Option("--key", "-k", help="Secret key, by 'tamis keygen' or 'minisign -G'.")],
    as_json: Json = False,
) -> None:
    """Sign a bundle: bundle.json.minisig is added to it. The password is asked for, or taken from TAMIS_KEY_PASSWORD."""
    from tamis.compiler.provenance.signing import is_encrypted, sign_bundle

    made = sign_bundle(bundle, key, _password() if is_encrypted(key) else None)
    done = {"bundle": str(bundle), "key": made.key, "comment": made.comment}
    emit_json(done) if as_json else fields(done)


def sbom(
    bundle: Annotated[Path, typer.Argument(help="A bundle: folder or zip.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .json file; default: print it.")] = None,
    as_json: Json = False,
) -> None:
    """Write the bill of materials of a bundle: CycloneDX 1.6, JSON."""
    from tamis.compiler.bundle import open_bundle
    from tamis.compiler.provenance.sbom import bill_of_materials
    from tamis.compiler.staging import staged_file

    if out is not None and out.suffix != ".json":
        raise OutputError("unknown kind of output file", where=str(out), expected="a path that ends in .json")
    text = bill_of_materials(open_bundle(bundle))
    if out is None:
        typer.echo(text, nl=False)
        return
    with staged_file(out) as path:
        path.write_text(text, encoding="utf-8")
    done = {"bundle": str(bundle), "written": str(out)}
    emit_json(done) if as_json else fields(done)


def _password(*, new: bool = False) -> str:
    """From the environment, or asked for; empty if nobody can be asked."""
    if (found := os.environ.get(PASSWORD)) is not None:
        return found
    if not sys.stdin.isatty():
        return ""
    answer: str = typer.prompt("Password of the secret key", hide_input=True, confirmation_prompt=new, err=True)
    return answer
