"""``tamis bench``, ``tamis compare`` and ``tamis bisect``: two models or bundles side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.compiler.cli.output import Json, Quiet, emit_json, fields, table
from tamis.compiler.errors import VerificationError

if TYPE_CHECKING:
    from tamis.compiler.runnable import Runnable

First = Annotated[Path, typer.Argument(metavar="A", help="The reference: a bundle or an ONNX model.")]
Second = Annotated[Path, typer.Argument(metavar="B", help="A bundle or an ONNX model with the same inputs.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="FILE.npz, NAME=FILE.npy, or NAME=IMAGE; default: seeded random."),
]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", help="Shape of a dynamic input, e.g. x=1,3,48,320; repeat as needed.")
]


def bench(
    a: First,
    b: Second,
    inputs: Inputs = None,
    shape: Shapes = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time to measure for, seconds.")] = 5.0,
    pairs: Annotated[int, typer.Option(min=5, help="Smallest number of pairs.")] = 20,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads for plain ONNX models.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Time B against A in interleaved pairs; quote the ratio with its interval."""
    from tamis.compiler.measure import call_of
    from tamis.compiler.measure_loads import compare_loads
    from tamis.compiler.progress import Progress
    from tamis.compiler.runnable import open_runnable

    feeds = _open_pair(a, b, inputs, shape, threads=threads)[2]
    with Progress("measuring", quiet=quiet or as_json) as progress:
        found = compare_loads(
            lambda: call_of(open_runnable(a, threads=threads).runner, feeds),
            lambda: call_of(open_runnable(b, threads=threads).runner, feeds),
            min_pairs=pairs,
            seconds=seconds,
            progress=progress.update,
        )
    data = found.to_dict()
    if as_json:
        emit_json({"a": str(a), "b": str(b), **data})
        return
    fields(
        {
            "speedup": f"{found.speedup:.3f}x ({found.low:.3f} to {found.high:.3f}, 95 %), B is {found.verdict}",
            "median": f"A {data['median_a_ms']:.3f} ms, B {data['median_b_ms']:.3f} ms, {found.pairs} pairs",
            "cpu time": f"{found.cpu_speedup:.3f}x",
            "noise": f"{100 * found.noise:.1f} %",
        }
    )


def compare(
    a: First,
    b: Second,
    inputs: Inputs = None,
    shape: Shapes = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Fail (exit 3) if a normwise relative error is larger.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the outputs of two models or bundles; print the tolerance that would have been needed."""
    from tamis.compiler.compare_outputs import compare_outputs

    first, second, feeds = _open_pair(a, b, inputs, shape)
    found = compare_outputs(first.runner(feeds), second.runner(feeds))
    if as_json:
        emit_json({"a": str(a), "b": str(b), "outputs": [o.to_dict() for o in found]})
    else:
        rows = [
            (o.name, "yes" if o.same_bits else "no", _g(o.max_abs), _g(o.tolerance_needed), _g(o.sqnr_db), o.problem)
            for o in found
        ]
        table(("output", "same bits", "max |a-b|", "tolerance needed", "SQNR dB", "problem"), rows)
    bad = [o for o in found if o.problem or (tolerance is not None and not o.tolerance_needed <= tolerance)]
    if bad and (tolerance is not None or bad[0].problem):
        raise VerificationError(
            f"output {bad[0].name} differs",
            where=f"{a} against {b}",
            expected=f"a normwise relative error of at most {tolerance:g}" if tolerance is not None else None,
            found=bad[0].problem or f"{bad[0].tolerance_needed:.3g}",
            fix="'tamis bisect' names the first node that differs",
        )


def _g(value: Any) -> str | None:
    return None if value is None else f"{value:.4g}"


def bisect(
    a: Annotated[Path, typer.Argument(metavar="A", help="The reference ONNX model.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The ONNX model to search.")],
    inputs: Inputs = None,
    shape: Shapes = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Normwise relative error that counts as different.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the first node of B whose result differs from the value of the same name in A."""
    from tamis.compiler.bisect import first_divergence
    from tamis.compiler.runnable import load_unoptimized

    first, second, feeds = _open_pair(a, b, inputs, shape, optimize=False)
    found = first_divergence(first.model, second.model, feeds, load_unoptimized, tolerance=tolerance)
    if as_json:
        emit_json({"a": str(a), "b": str(b), "divergence": found and found.to_dict()})
    elif found is None:
        typer.echo("no value that both models have differs")
    else:
        typer.echo(found.describe())


def _open_pair(
    a: Path,
    b: Path,
    inputs: list[str] | None,
    shapes: list[str] | None,
    *,
    threads: int | None = None,
    optimize: bool = True,
) -> tuple[Runnable, Runnable, dict[str, Any]]:
    from tamis.compiler.feeds import feeds_for_both
    from tamis.compiler.runnable import open_runnable

    first = open_runnable(a, threads=threads, optimize=optimize)
    second = open_runnable(b, threads=threads, optimize=optimize)
    return first, second, feeds_for_both(first, second, inputs or [], shapes or [])
