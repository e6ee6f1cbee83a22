"""``tamis tune``: search settings and schedules for the targets of a recipe, without building anything."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tamis.compiler.apply_steps import apply_steps
from tamis.compiler.cache.store import open_store
from tamis.compiler.prepare import TargetPlan, prepare
from tamis.compiler.recipe import TuneSection
from tamis.compiler.recipe_file import LoadedRecipe
from tamis.compiler.session import Session
from tamis.compiler.target_build import tuned_settings
from tamis.compiler.tuning_database import TuningDatabase


@dataclass(frozen=True)
class Tuned:
    """What was found for one target.

    Args:
        target: Its name.
        runtime: The runtime that was tuned.
        settings: The best settings.
        record: What was measured; ``reused`` is true if the database had it all.
    """

    target: str
    runtime: str
    settings: Mapping[str, Any]
    record: Mapping[str, Any]


def tune_recipe(loaded: LoadedRecipe, budget: TuneSection, *, quiet: bool = False) -> list[Tuned]:
    """Take the steps of each target and tune what they leave; a compile afterwards finds everything in the database.

    What an interrupted search has found stays in the database, and the next one goes on from there.

    Args:
        budget: Where it says nothing, the recipe's ``tune`` counts, and then the runtime's default.
        quiet: No progress bars.

    Raises:
        TamisError: As a compile.
    """
    made = prepare(loaded)
    found = []
    with TuningDatabase() as database:
        session = Session(database, open_store(), quiet=quiet)
        for plan in itertools.chain.from_iterable(p.candidates or (p,) for p in made.plans):
            asked = _with_budget(plan, budget)
            applied = apply_steps(made, asked, session)
            model, feeds = applied.outcome.model, applied.samples[0]
            settings, record = tuned_settings(model, feeds, asked, session)
            found.append(Tuned(plan.target.name, plan.target.runtime.name, settings, record))
    return found


def _with_budget(plan: TargetPlan, budget: TuneSection) -> TargetPlan:
    given = budget.model_dump(exclude_none=True)
    merged = (plan.section.tune or TuneSection()).model_copy(update=given)
    return replace(plan, section=plan.section.model_copy(update={"tune": merged}))
