"""``tamis compile``: from a loaded recipe to bundles at the output path, or an error and nothing there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.compiler.bundle import Bundle, is_output, open_bundle, write_archive
from tamis.compiler.choose_runtime import build
from tamis.compiler.errors import BudgetMissedError, UsageError
from tamis.compiler.loader.write_loader import add_loader
from tamis.compiler.phases import Phases
from tamis.compiler.prepare import Prepared, prepare
from tamis.compiler.recipe_file import LoadedRecipe
from tamis.compiler.session import Session
from tamis.compiler.staging import check_output, staged
from tamis.compiler.tuning_database import TuningDatabase

if TYPE_CHECKING:
    from tamis.compiler.cache.store import Store

ARCHIVE = ".zip"


def compile_recipe(
    loaded: LoadedRecipe,
    out: Path,
    *,
    store: Store | None = None,
    finish: Callable[[list[Path]], None] | None = None,
    loader: bool = False,
    quiet: bool = False,
) -> list[Bundle]:
    """Compile for every target of the recipe and publish the bundles, all or none.

    Args:
        loaded: The recipe with its folder.
        out: One target: the bundle, a folder or a path that ends in ``.zip``. Several targets: a folder with a
            bundle a target. A bundle that stands there already is replaced.
        store: Has what steps made of models in earlier compiles, and keeps what they make now.
        finish: Gets the finished bundles, all budgets met, before they are published.
        loader: Write a loader that needs no tamis into each bundle.
        quiet: No progress bars.

    Returns:
        One bundle a target, in the recipe's order.

    Raises:
        BudgetMissedError: A budget is not met. ``out`` is untouched; the best bundle so far is beside it, with
            ``.missed`` in its name.
        TamisError: Anything else; nothing was written.
    """
    out = out.absolute()
    check_output(out, is_output)
    phases = Phases()
    with phases.phase("load"):
        made = prepare(loaded)
    if out.suffix == ARCHIVE and len(made.plans) > 1:
        raise UsageError("several targets do not fit into one zip file", where=str(out), fix="give a folder as --out")
    missed: list[str] = []
    with TuningDatabase() as database, staged(out, replaceable=is_output) as staging:
        session = Session(database, store, phases, quiet)
        folders = _folders(made, staging.folder)
        for plan, folder in zip(made.plans, folders, strict=True):
            folder.mkdir(exist_ok=True)
            found = build(made, plan, folder, session)
            if loader:
                add_loader(folder)
            missed += [f"target {plan.target.name}: {m}" if len(made.plans) > 1 else m for m in found]
        if missed:
            staging.out = out.with_name(f"{out.stem}.missed{out.suffix}")
            check_output(staging.out, is_output)
        elif finish is not None:
            finish(folders)
        if out.suffix == ARCHIVE:
            staging.single = True
            write_archive(staging.folder, staging.folder / staging.out.name)
    if missed:
        raise BudgetMissedError("; ".join(missed), fix=f"the best bundle so far is kept in {staging.out}")
    return [open_bundle(path, check=False) for path in _folders(made, out)]


def _folders(made: Prepared, base: Path) -> list[Path]:
    return [base / p.target.name for p in made.plans] if len(made.plans) > 1 else [base]
