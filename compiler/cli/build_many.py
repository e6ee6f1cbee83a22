"""``tamis build``."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamis.compiler.cli.output import Json, Quiet, emit_json, table
from tamis.compiler.errors import UsageError

if TYPE_CHECKING:
    from tamis.compiler.building.job import Job, Result
    from tamis.compiler.building.run_build import Crew

REASON_LENGTH = 160


def build(
    file: Annotated[Path, typer.Argument(help="A build file: models, recipes and targets.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the bundles; default: build/, beside the file.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Compiles at a time; default: a core each.")
    ] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", "-k", help="Go on after a job that failed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would be compiled.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write the results there as JUnit XML.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Run on Dask: tcp://HOST:PORT, or 'local' to start a cluster here.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compile many models, by many recipes, for many targets, as a build file says. Exits with the worst status of all."""
    from tamis.compiler.building.make_jobs import make_jobs
    from tamis.compiler.building.read_build_file import read_builds
    from tamis.compiler.building.run_build import run_build
    from tamis.compiler.progress import Progress

    if junit is not None and not junit.suffix:
        raise UsageError("has no file extension", where=f"--junit {junit}", fix="end it in .xml")
    made = make_jobs(read_builds(file), out)
    if dry_run:
        _plan(made, as_json)
        return
    with Progress("build", quiet=quiet or as_json) as progress:
        done = [0.0]

        def note(fraction: float, text: str) -> None:
            done[0] = fraction
            progress.update(fraction, text)

        def listen(name: str | None) -> None:
            progress.update(done[0], f"{name.partition(' ')[2]} measures, the others wait" if name else "")

        crew = _crew(scheduler, min(jobs or _cores(), len(made)), listen)
        results = run_build(made, crew, keep_going=keep_going, note=note)
    if junit is not None:
        from tamis.compiler.building.junit import write_junit

        write_junit(junit, made, results)
    status = max(result.exit_code for result in results)
    if as_json:
        emit_json({"exit_code": status, "jobs": [r.to_dict(j) for j, r in zip(made, results, strict=True)]})
    else:
        _summary(made, results)
    raise typer.Exit(status)


def _crew(scheduler: str | None, jobs: int, listen: Callable[[str | None], None]) -> AbstractContextManager[Crew]:
    if scheduler is None:
        from tamis.compiler.building.run_build import here

        return here(jobs, listen)
    from tamis.compiler.building.run_dask import on_dask

    return on_dask(scheduler, jobs, uuid.uuid4().hex)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plan(jobs: Sequence[Job], as_json: bool) -> None:
    if as_json:
        keys = ("model", "recipe", "target")
        emit_json({"jobs": [{**dict(zip(keys, j.names, strict=True)), "out": str(j.out)} for j in jobs]})
        return
    table(("model", "recipe", "target", "bundle"), [(*j.names, j.out) for j in jobs])


def _summary(jobs: Sequence[Job], results: Sequence[Result]) -> None:
    headers = ("model", "recipe", "target", "verdict", "speed", "size", "drop", "seconds", "reason")
    table(headers, [(*job.names, *_cells(result)) for job, result in zip(jobs, results, strict=True)])
    counts = Counter(result.verdict for result in results)
    typer.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _cells(found: Result) -> tuple[str | None, ...]:
    reason = found.reason
    if reason and len(reason) > REASON_LENGTH:
        reason = f"{reason[: REASON_LENGTH - 1]}…"
    return (
        found.verdict,
        None if found.speedup is None else f"{found.speedup:.3f}x",
        None if found.bytes is None else f"{found.bytes / 1e6:.2f} MB",
        None if found.drop is None else f"{found.drop:.4f}",
        f"{found.seconds:.1f}",
        reason,
    )
