"""``tamis list`` and ``tamis explain``: what exists, and what it means."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from tamis.compiler.cli.contrast import Shapes
from tamis.compiler.cli.output import Json, emit_json, fields, table
from tamis.compiler.errors import UsageError


class Kind(enum.StrEnum):
    """What can be listed."""

    PASSES = "passes"
    TARGETS = "targets"
    RECIPES = "recipes"
    MACHINES = "machines"
    METRICS = "metrics"
    DATASETS = "datasets"
    ERRORS = "errors"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    as_json: Json = False,
) -> None:
    """List what exists by name, with one line each."""
    from tamis.compiler.catalog import entries

    found = entries(kind)
    if as_json:
        emit_json([e.to_dict() for e in found])
        return
    extra = tuple(found[0].facts) if found else ()
    table(("name", *extra, "what it is"), [(e.name, *e.facts.values(), e.summary) for e in found])


def explain(
    name: Annotated[
        str, typer.Argument(help="A pass, runtime, machine, recipe, metric or error code; with --pass, an ONNX model.")
    ],
    pass_: Annotated[
        str | None, typer.Option("--pass", help="Say what this pass would do to the model, and why not more.")
    ] = None,
    shape: Shapes = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Look at the graph as it is in the file, not at its canonical form.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Nodes to name for each reason.")] = 5,
    as_json: Json = False,
) -> None:
    """Print the page of a pass, runtime, machine, recipe, metric or error code; or why a pass leaves a model alone."""
    from tamis.compiler.catalog import explain as page_of

    if pass_ is not None:
        _why_not(Path(name), pass_, shape or [], as_is, top, as_json)
        return
    if shape or as_is or name.endswith(".onnx"):
        raise UsageError(
            "which pass?" if name.endswith(".onnx") else "--shape and --as-is go with a model and --pass",
            where=name,
            fix="add --pass NAME; 'tamis list passes' has the names",
        )
    kind, text = page_of(name)
    if as_json:
        emit_json({"kind": kind, "name": name, "page": text})
    else:
        typer.echo(text)


def _why_not(path: Path, name: str, shapes: list[str], as_is: bool, top: int, as_json: bool) -> None:
    from tamis.compiler.analysis.subject import FIRST_PASS, open_subject
    from tamis.compiler.machine import find_machine
    from tamis.compiler.why_not import find_pass, why_not

    find_pass(name, find_machine("host"))  # a misspelt name is told before the model is read
    as_is = as_is or name == FIRST_PASS
    subject = open_subject(path, shapes, as_is=as_is)
    found = why_not(subject, name)
    reasons = found.by_reason()
    form = "as it is" if as_is else "canonicalized"
    if as_json:
        near = [{"reason": reason, "count": len(nodes), "nodes": nodes} for reason, nodes in reasons.items()]
        facts = {"model": str(path), "pass": name, "graph": form, "hint": subject.hint}
        emit_json({**facts, "counts": found.counts, "near_misses": near})
        return
    counts = ", ".join(f"{n} {what}" for what, n in found.counts.items()) or "nothing"
    fields({"model": f"{path}, {form}", "pass": name, "would do": counts, "near misses": len(found.misses)})
    if reasons:
        typer.echo()
        table(("near misses", "reason", "nodes"), [(len(n), reason, _some(n, top)) for reason, n in reasons.items()])
    if subject.hint:
        typer.echo(f"Sizes of inputs are not known, which hides places that need them: {subject.hint}")


def _some(nodes: list[str], top: int) -> str:
    return ", ".join(nodes[:top]) + (f" and {len(nodes) - top} more" if len(nodes) > top else "")
