"""``tamis compile`` and ``tamis plan``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.compiler.cli.output import Json, emit_json, fields, table
from tamis.compiler.errors import UsageError

if TYPE_CHECKING:
    from tamis.compiler.bundle import Bundle
    from tamis.compiler.manifest import StepRecord
    from tamis.compiler.recipe_file import MergedRecipe

Source = Annotated[
    Path, typer.Argument(help="A recipe (.yaml or the name of a shipped one), or an ONNX model (with -r).")
]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", "-r", help="Recipe for the model: a path or the name of a shipped one.")
]
Model = Annotated[Path | None, typer.Option("--model", "-m", help="The model, instead of the recipe's.")]
TargetName = Annotated[str | None, typer.Option("--target", "-t", help="Machine, instead of the recipe's targets.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override, e.g. passes.quantize-dynamic.weights=uint8.")
]
Calibration = Annotated[Path | None, typer.Option(help="Samples: .npz, .csv or a folder.")]
Evaluation = Annotated[Path | None, typer.Option(help="Labelled samples: .npz, .csv or a folder.")]


def compile(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Bundle to write: a folder, or a path that ends in .zip.")],
    recipe: RecipeName = None,
    model: Model = None,
    target: TargetName = None,
    set_: Set = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    depfile: Annotated[
        Path | None, typer.Option(help="Write what was read there, as a rule for Make and Ninja.")
    ] = None,
    out_manifest: Annotated[
        Path | None, typer.Option(help="Write the manifest there too, if it says something new.")
    ] = None,
    with_loader: Annotated[
        bool, typer.Option("--with-loader", help="Add tamis_bundle.py, which runs the bundle without tamis.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build all of it, even if the bundle is up to date.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bars, and one line a bundle instead of the report.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile a model by a recipe into a bundle that meets its budgets, or fail and say why."""
    from tamis.compiler.bundle import open_bundle
    from tamis.compiler.depfile import targets_of, write_depfile, write_manifest
    from tamis.compiler.incremental.make import make

    merged = merge_recipe(source, recipe, model, target, set_, calibration, evaluation)
    _check_outside(out, {"--depfile": depfile, "--out-manifest": out_manifest})
    made = make(merged, out, force=force, loader=with_loader, quiet=quiet or as_json)
    bundles = [open_bundle(path, check=False) for path in made.paths]
    if out_manifest is not None:
        write_manifest(out_manifest, bundles)
    if depfile is not None:
        write_depfile(depfile, targets_of(out, bundles), made.files)
    if as_json:
        states = {"state": made.state, "up_to_date": made.state == "up to date"}
        emit_json([{"path": str(b.path), **states, "report": b.report.model_dump(mode="json")} for b in bundles])
        return
    for bundle in bundles:
        if quiet or made.state == "up to date":
            typer.echo(f"{made.state}: {bundle.path}")
            continue
        report(bundle)
        if made.state == "restored":
            typer.echo("taken from the cache as it was built before; '--force' builds and measures anew")


def _check_outside(out: Path, files: dict[str, Path | None]) -> None:
    """A bundle holds its own files only: another one in it would not be up to date, or would be a file that is no part of it."""
    for option, file in files.items():
        if file is not None and file.absolute().is_relative_to(out.absolute()):
            raise UsageError("lies inside the bundle", where=option, found=str(file), fix=f"write it beside {out}")


def plan(
    source: Source,
    recipe: RecipeName = None,
    model: Model = None,
    target: TargetName = None,
    set_: Set = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    as_json: Json = False,
) -> None:
    """Show what compile would do, without doing it: inputs, data, steps with contracts, targets, budgets."""
    from tamis.compiler.plan import make_plan

    made = make_plan(merge_recipe(source, recipe, model, target, set_, calibration, evaluation).checked())
    if as_json:
        emit_json(made)
        return
    fields({"model": made["model"], "nodes": made["nodes"], "recipe": made["recipe"]})
    typer.echo()
    table(("input", "dtype", "shape", "bounds"), [tuple(i.values()) for i in made["inputs"]])
    for one in made["targets"]:
        state = one["unavailable"] or "available"
        steps = [(i, *s.values()) for i, s in enumerate(one["steps"], 1)]
        table(("#", "step", "contract", "kept if", "options"), steps, title=f"{one['name']}: {one['runtime']}, {state}")
        if one["unsupported"]:
            typer.echo(f"{one['runtime']} cannot run {len(one['unsupported'])} nodes:")
            for line in one["unsupported"]:
                typer.echo(f"  {line}")
    if made["budget"]:
        fields({f"budget.{k}": v for k, v in made["budget"].items()})


def merge_recipe(
    source: Path,
    recipe: str | None,
    model: Path | None,
    target: str | None,
    sets: list[str] | None,
    calibration: Path | None,
    evaluation: Path | None,
) -> MergedRecipe:
    """The recipe that the arguments of a command name, with their overrides, unchecked."""
    from tamis.compiler.overrides import merge_for

    is_model = source.suffix == ".onnx"
    if is_model and model is not None:
        raise UsageError("the model is given twice", found=f"{source} and --model {model}", fix="drop one of the two")
    if is_model and recipe is None:
        raise UsageError(
            "no recipe", where=str(source), fix="name one, e.g. -r lossless; 'tamis list recipes' has them"
        )
    if not is_model and recipe is not None:
        raise UsageError("two recipes", found=f"{source} and -r {recipe}", fix="with -r, give the .onnx model first")
    return merge_for(
        recipe if recipe is not None else str(source),
        model=source if is_model else model,
        target=target,
        data={"calibration": calibration, "evaluation": evaluation},
        sets=sets or [],
    )


def report(bundle: Bundle) -> None:
    """Print what was done: a row a step that found something to do, then the figures of the whole."""
    made = bundle.report
    rows = [
        (s.name, s.contract, s.verdict, f"{s.nodes_before} -> {s.nodes_after}", _counts(s.counts), s.reason)
        for s in made.steps
        if s.verdict != "unchanged"
    ]
    unchanged = len(made.steps) - len(rows)
    decided = {s.name: _decided(s) for s in made.steps if s.details and s.verdict != "undone"}
    table(
        ("step", "contract", "verdict", "nodes", "done", "reason"), rows, title=f"{made.model} for {made.target.name}"
    )
    more = {"unchanged": f"{unchanged} steps found nothing to do"} if unchanged else {}
    fields({**more, **decided, **{k: v for k, v in summary(bundle).items() if v is not None}})


SLOWER = "slower than the model as given; 'tune: {seconds: 30}' at the target searches the runtime's settings"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.items() if n)


def _decided(step: StepRecord) -> str:
    """What places got and why, counted."""
    found = Counter((detail.got, detail.why) for detail in step.details)
    return "; ".join(f"{count} of {len(step.details)} {got}: {why}" for (got, why), count in found.most_common())


def summary(bundle: Bundle) -> dict[str, Any]:
    """The figures of a bundle that people ask for first."""
    made, measured = bundle.report, bundle.measurements
    size = sum(made.files[f].bytes for f in made.artifact)
    latency = measured.get("latency")
    ratio = measured.get("speedup")
    accuracy = made.accuracy
    return {
        "bundle": bundle.path,
        "cache": f"had {reused} of {len(made.steps)} steps" if (reused := measured.get("reused_steps")) else None,
        "runtime": made.target.note,
        "lowering": "; ".join(made.target.notes) or None,
        "executed": None
        if made.target.executed
        else f"no (link {made.target.link.kind}); results proven on this machine",
        "size": f"{size / 1e6:.2f} MB",
        "latency": latency and f"{latency['p50_ms']:.3f} ms",
        "speedup": ratio and f"{ratio['speedup']:.3f}x ({ratio['low']:.3f} to {ratio['high']:.3f}), {ratio['verdict']}",
        accuracy.metric if accuracy else "accuracy": accuracy and f"{accuracy.before:.4f} -> {accuracy.after:.4f}",
        "sqnr": f"{made.sqnr_db:.1f} dB" if made.sqnr_db is not None else None,
        "hint": SLOWER if ratio and ratio["verdict"] == "slower" and not measured.get("tuning") else None,
    }
