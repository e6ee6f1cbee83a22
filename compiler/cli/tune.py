"""``tamis tune``."""

from __future__ import annotations

from typing import Annotated

import typer

from tamis.compiler.cli.build import Calibration, Evaluation, Model, RecipeName, Set, Source, TargetName, merge_recipe
from tamis.compiler.cli.output import Json, Quiet, emit_json, table


def tune(
    source: Source,
    recipe: RecipeName = None,
    model: Model = None,
    target: TargetName = None,
    set_: Set = None,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Schedules measured for each kernel, earlier ones included (runtime tvm).")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Time budget for each target, seconds.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search settings and schedules for the recipe's targets and keep them in the tuning database.

    Ctrl-C keeps what was found; the same command goes on from there. Kernels that other models share are not searched
    again. A compile of the recipe then uses the results without measuring.
    """
    from tamis.compiler.recipe import TuneSection
    from tamis.compiler.tune import tune_recipe

    loaded = merge_recipe(source, recipe, model, target, set_, calibration, evaluation).checked()
    found = tune_recipe(loaded, TuneSection(trials=trials, seconds=seconds), quiet=quiet or as_json)
    if as_json:
        emit_json(
            [{"target": t.target, "runtime": t.runtime, "settings": t.settings, "record": t.record} for t in found]
        )
        return
    rows = [(t.target, t.runtime, t.record.get("trials", ""), "yes" if t.record.get("reused") else "no") for t in found]
    table(("target", "runtime", "trials", "known before"), rows)
