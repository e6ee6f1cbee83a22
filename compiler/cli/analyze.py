"""``tamis analyze``: what each node computes, moves and takes."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tamis.compiler.cli.contrast import Inputs, Shapes
from tamis.compiler.cli.output import Json, Quiet, emit_json, fields, table
from tamis.compiler.errors import UsageError

if TYPE_CHECKING:
    from tamis.compiler.analysis.analyse import Analysis
    from tamis.compiler.analysis.rows import Row
    from tamis.compiler.analysis.subject import Subject

NAMED = 5
"""Kinds that are named with their share outside the roofline."""
RANDOM_SAMPLES = ("quantization",)
"""Analyses that random samples stand in for, where there are no real ones."""


class Level(enum.StrEnum):
    """What is timed."""

    OPTIMIZED = "optimized"
    AS_WRITTEN = "as-written"


class By(enum.StrEnum):
    """What a row of the table stands for."""

    NODE = "node"
    OP = "op"


def analyze(
    model: Annotated[Path, typer.Argument(help="The ONNX model.")],
    shape: Shapes = None,
    inputs: Inputs = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Threads; default: the machine's.")] = None,
    level: Annotated[
        Level, typer.Option(help="Time what the runtime makes of the graph, or each node as it is written.")
    ] = Level.OPTIMIZED,
    by: Annotated[By, typer.Option(help="A row for each node, or for each kind of operator.")] = By.OP,
    top: Annotated[int, typer.Option(min=1, help="Rows to print, those that take most time first.")] = 20,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time to measure for, seconds.")] = 2.0,
    plot: Annotated[
        Path | None, typer.Option(help="Write the roofline as a picture, .png or .svg (needs 'tamis[report]').")
    ] = None,
    quantization: Annotated[
        bool, typer.Option("--quantization", help="Show instead what 8 bits do to each layer; give samples by --data.")
    ] = False,
    pruning: Annotated[
        bool,
        typer.Option("--pruning", help="Show instead which channels can go, and what they save; --data adds more."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Samples: an .npz file, or a folder with one file each (--quantization, --pruning)."),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Use only the first so many samples of --data.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show MACs, parameters, bytes and measured time of each node, and the share of time outside the roofline."""
    from tamis.compiler.analysis.roofline_plot import check_plot, write_plot
    from tamis.compiler.analysis.subject import open_subject

    if plot is not None:
        check_plot(plot)
    special = _chosen(quantization=quantization, pruning=pruning)
    if special is not None:
        _special(special, model, _Given(shape or [], inputs or [], data, samples, threads), plot, top, quiet, as_json)
        return
    if data is not None or samples is not None:
        raise UsageError(
            "--data and --samples go with --quantization and --pruning only", fix="give one sample by --input instead"
        )
    subject = open_subject(model, shape or [], inputs or [])
    found, setting = _analyse(subject, threads, level, seconds, quiet or as_json)
    if plot is not None and found.roofline is not None:
        write_plot(found, plot, f"{model.name}, {setting}")
    if as_json:
        emit_json({"model": str(model), "setting": setting, "hint": subject.hint, **found.to_dict()})
        return
    _print(subject, found, setting, by, top)
    if plot is not None:
        typer.echo(f"plot     {plot}" if found.roofline else "plot     none: nothing was measured")


class _Given(NamedTuple):
    """What an analysis is told of the inputs and the runtime."""

    shapes: list[str]
    inputs: list[str]
    data: Path | None
    samples: int | None
    threads: int | None


def _chosen(**asked: bool) -> str | None:
    """The name of the analysis that is asked for; None if it is the usual one."""
    names = [name for name, is_asked in asked.items() if is_asked]
    if len(names) > 1:
        raise UsageError(f"both --{names[0]} and --{names[1]} are given", fix="run one after the other")
    return names[0] if names else None


def _special(name: str, model: Path, given: _Given, plot: Path | None, top: int, quiet: bool, as_json: bool) -> None:
    """An analysis of its own, found by its name."""
    from tamis.compiler.analysis.bar_plot import write_bars
    from tamis.compiler.analysis.special import run_analysis
    from tamis.compiler.progress import Progress

    with Progress(f"analysing {name}", quiet=quiet or as_json) as progress:
        found = run_analysis(
            name, model, **given._asdict(), random_samples=name in RANDOM_SAMPLES, progress=progress.update
        )
    if plot is not None and found.bars is not None:
        write_bars(found.bars, plot, f"{model.name}: {name}")
    if as_json:
        emit_json({"model": str(model), "analysis": name, "summary": found.summary, **found.data})
        return
    fields({"model": str(model), **_without_data(name, given), **found.summary})
    typer.echo()
    table(found.columns, found.rows[:top])
    if len(found.rows) > top:
        typer.echo(f"{len(found.rows) - top} more rows; --top {len(found.rows)} shows all")
    if plot is not None:
        typer.echo(f"plot     {plot}" if found.bars else "plot     none: there is nothing to draw")


def _without_data(name: str, given: _Given) -> dict[str, str]:
    """What to say of the samples, where the user gave none."""
    if given.data or given.inputs:
        return {}
    random = "seeded random samples: figures say little about real ones"
    return {"samples": random if name in RANDOM_SAMPLES else "none; add --data to see what the channels do"}


def _analyse(
    subject: Subject, threads: int | None, level: Level, seconds: float, quiet: bool
) -> tuple[Analysis, str | None]:
    """The analysis, and in words what was measured; None if nothing was, since sizes of inputs are not known."""
    from tamis.compiler.analysis.analyse import analyse, costs
    from tamis.compiler.errors import TargetUnavailableError
    from tamis.compiler.machine import find_machine
    from tamis.compiler.progress import Progress
    from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class
    from tamis.compiler.tuning_database import TuningDatabase

    if subject.feeds is None:
        return costs(subject), None
    machine = find_machine("host")
    cls = runtime_class(REFERENCE_RUNTIME)
    runtime = cls(cls.options_type.model_validate({"threads": threads}))
    if reason := runtime.unavailable(machine):
        raise TargetUnavailableError(reason, where=f"runtime {runtime.name}")
    used = runtime.fingerprint(machine)["threads"]
    with TuningDatabase() as database, Progress("measuring", quiet=quiet) as progress:
        found = analyse(
            subject,
            runtime,
            machine,
            database,
            seconds=seconds,
            optimize=level is Level.OPTIMIZED,
            progress=progress.update,
        )
    return found, f"{runtime.name}, {used} thread{'' if used == '1' else 's'}, {level}"


def _print(subject: Subject, found: Analysis, setting: str | None, by: By, top: int) -> None:
    from tamis.compiler.analysis.rows import by_kind, ranked
    from tamis.compiler.pipeline import count_nodes

    rows = by_kind(found.rows) if by is By.OP else ranked(found.rows)
    head = {
        "model": subject.path,
        "inputs": _inputs(subject),
        "nodes": f"{subject.nodes_given}, {count_nodes(subject.model)} once canonicalized",
        "MACs": _count(found.macs),
        "parameters": _count(found.parameters),
        "moved": _bytes(found.moved),
    }
    if found.roofline is not None:
        head |= {
            "measured": f"{setting}: {(found.nanoseconds or 0) / 1e6:.3f} ms in kernels",
            "ceilings": _ceilings(found),
            "outside the roofline": _outside(found),
        }
    fields({name: text for name, text in head.items() if text is not None})
    typer.echo()
    unit = "kernels" if found.roofline is not None else "nodes"
    first = ("node", "op") if by is By.NODE else ("op", unit)
    columns = (*first, "MACs", "parameters", "moved", "MACs/byte", "time", "outside", "bound", "note")
    table(columns, [_cells(row, by, found.nanoseconds) for row in rows[:top]])
    if len(rows) > top:
        typer.echo(f"{len(rows) - top} more rows; --top {len(rows)} shows all")
    if subject.hint:
        typer.echo(f"Nothing was measured, and ? marks what depends on sizes that are not known: {subject.hint}")
    elif found.macs is None:
        typer.echo(
            "? marks what depends on sizes that only a run of the model tells, or on operators without a formula"
        )


def _inputs(subject: Subject) -> str | None:
    if subject.feeds is None:
        return None
    return ", ".join(f"{name} {list(array.shape)}" for name, array in subject.feeds.items())


def _ceilings(found: Analysis) -> str:
    assert found.roofline is not None
    rates = ", ".join(f"{rate / 1e9:.0f} GB/s to {_bytes(size)}" for size, rate in found.roofline.bandwidths)
    return f"{found.roofline.peak / 1e9:.0f} GMAC/s float32, {found.roofline.peak_int8 / 1e9:.0f} int8; {rates}"


def _outside(found: Analysis) -> str:
    """The share of the time outside the roofline, and whose it is."""
    parts = found.outside()
    named = ", ".join(f"{kind} {_share(share)}" for kind, share in parts[:NAMED])
    rest = sum(share for _, share in parts[NAMED:])
    whole = f"{_share(sum(share for _, share in parts))} of the time"
    return f"{whole}: {named}{f', others {_share(rest)}' if parts[NAMED:] else ''}" if parts else whole


def _cells(row: Row, by: By, whole: float | None) -> tuple[Any, ...]:
    fused = f"{row.kind} ({' + '.join(row.fused)})" if row.fused else row.kind
    first = (row.name, fused) if by is By.NODE else (row.kind, row.count)

    def share(nanoseconds: float | None) -> str | None:
        return None if not whole else "?" if nanoseconds is None else _share(nanoseconds / whole)

    return (
        *first,
        _count(row.cost.macs),
        _count(row.cost.parameters),
        _bytes(row.cost.moved),
        _intensity(row),
        share(row.nanoseconds),
        share(row.outside),
        row.bound,
        row.cost.note,
    )


def _intensity(row: Row) -> str | None:
    if row.cost.macs == 0:
        return None
    return "?" if row.intensity is None else f"{row.intensity:.2f}"


def _share(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _bytes(number: int | None) -> str:
    if number is None:
        return "?"
    return f"{number / 1e6:.2f} MB" if number >= 10_000 else f"{number} B"
