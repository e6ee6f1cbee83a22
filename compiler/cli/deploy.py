"""``tamis run`` and ``tamis verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.output import Json, Quiet, emit_json, fields, table
from tamis.compiler.errors import UsageError


def run(
    model: Annotated[Path, typer.Argument(help="A bundle or an ONNX model.")],
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", help="FILE.npz, NAME=FILE.npy, or NAME=IMAGE; repeat as needed.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all outputs to this .npz file.")] = None,
    as_json: Json = False,
) -> None:
    """Run a model or bundle once on the given inputs."""
    from tamis.compiler.feeds import read_feeds
    from tamis.compiler.runnable import open_runnable

    if output is not None and output.suffix != ".npz":
        raise UsageError("unknown kind of output file", where=str(output), expected="a path that ends in .npz")
    runnable = open_runnable(model)
    outputs = runnable.runner(read_feeds(inputs, runnable.inputs))
    if output is not None:
        from tamis.compiler.bundle import write_npz
        from tamis.compiler.staging import staged_file

        with staged_file(output) as path:
            write_npz(path, outputs)
    rows = [
        {"output": n, "dtype": a.dtype.name, "shape": list(a.shape), "min": _edge(a, "min"), "max": _edge(a, "max")}
        for n, a in outputs.items()
    ]
    if as_json:
        emit_json({"model": str(model), "outputs": rows, "written": str(output) if output else None})
    else:
        table(("output", "dtype", "shape", "min", "max"), [tuple(r.values()) for r in rows])


def _edge(array: object, which: str) -> float | None:
    import numpy as np

    values = np.asarray(array)
    numeric = values.size and values.dtype.kind in "fiub"
    return float(getattr(values.astype(np.float64), which)()) if numeric else None


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle: folder or zip.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse another machine and other versions; measure with --model.")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(help="The model as given: measure again how much faster the bundle is; with --strict."),
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(help="Require a signature by this key: minisign's file, or the key itself.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check a bundle on this machine: digests, machine features, golden outputs."""
    from tamis.compiler.progress import Progress
    from tamis.compiler.verify_bundle import verify_bundle
    from tamis.compiler.verify_strict import NOT_MEASURED

    if model is not None and not strict:
        raise UsageError("is measured by a strict check only", where="--model", fix="add --strict")
    with Progress("measuring", quiet=quiet or as_json or model is None) as progress:
        found = verify_bundle(bundle, strict=strict, model=model, public_key=public_key, progress=progress.update)
    if as_json:
        emit_json(found.to_dict())
        return
    worst = max(found.replays, key=lambda r: r.error / r.tolerance if r.tolerance else r.error)
    fields(
        {
            "bundle": found.bundle.path,
            "files": f"{len(found.bundle.report.files)} digests match",
            "golden": f"{len(found.replays)} outputs reproduced; largest error {worst.error:.2g} "
            f"(allowed {worst.tolerance:.2g})",
            **({"signature": found.signature.describe()} if found.signature else {}),
            **({"speed": found.speed.describe() if found.speed else NOT_MEASURED} if strict else {}),
        }
    )
    for warning in found.warnings:
        typer.echo(f"warning  {warning}")
