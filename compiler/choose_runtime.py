"""Which runtime a target gets when the recipe leaves it open: the faster one, or the one that can run the model.

``runtime: auto`` builds the target with each runtime of its machine and keeps the faster bundle of those that meet the
budgets. ``fallback`` in a runtime's options names the runtime that takes over if the model cannot be lowered, or comes out
wrong. Either way the manifest says what was chosen and why.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tamis.compiler.bundle import MANIFEST, MEASUREMENTS, Bundle, open_bundle
from tamis.compiler.errors import ContractViolationError, LoweringError, TargetUnavailableError, VerificationError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.loaded_model import bundle_runtime
from tamis.compiler.measure import Call, call_of
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.prepare import Prepared, TargetPlan
from tamis.compiler.registry import runtime_class
from tamis.compiler.session import Session
from tamis.compiler.target import Target
from tamis.compiler.target_build import MEASURE_SECONDS, build_target
from tamis.compiler.tuning_database import TuningDatabase, fingerprint_digest

KIND = "runtime"


def build(made: Prepared, plan: TargetPlan, folder: Path, session: Session) -> list[str]:
    """Write the bundle of one target into ``folder``, with the runtime that the recipe names or leaves to be chosen.

    Returns, raises: As ``build_target``.
    """
    if plan.candidates:
        return _fastest(made, plan, folder, session)
    try:
        return build_target(made, plan, folder, session)
    except (LoweringError, VerificationError) as error:
        name = plan.target.runtime.fallback
        if name is None or isinstance(error, ContractViolationError):
            raise
        _empty(folder)
        other = runtime_class(name)(link=plan.target.link)
        if reason := other.unavailable(plan.target.machine):
            raise TargetUnavailableError(reason, where=f"target {plan.target.name}, fallback {name}") from error
        target = Target(plan.target.name, plan.target.machine, other)
        found = build_target(made, replace(plan, target=target), folder, session)
        _note(folder, f"{name} instead of {plan.target.runtime.name}: {error}")
        return found


def _fastest(made: Prepared, plan: TargetPlan, folder: Path, session: Session) -> list[str]:
    """Build with each candidate, each in a sub-folder, and keep the one that meets the budgets and is faster."""
    best: Path | None = None
    missed: list[str] = []
    notes: list[str] = []
    compared: list[dict[str, Any]] = []
    for candidate in plan.candidates:
        name = candidate.target.runtime.name
        place = folder / f"{name}.candidate"
        place.mkdir()
        try:
            found = build_target(made, candidate, place, session)
        except (LoweringError, VerificationError) as error:
            if isinstance(error, ContractViolationError):  # of a pass: no runtime mends that
                raise
            notes.append(f"{name} cannot: {error}")
            shutil.rmtree(place)
            continue
        if best is None:
            best, missed = place, found
            continue
        with session.phases.phase("compare runtimes"):
            faster, note, record = _compare(best, place, made.samples(1)[0], session.database)
        notes.append(note)
        compared.append(record)
        if (bool(found), not faster) < (bool(missed), False):
            best, missed = place, found
    if best is None:
        raise LoweringError("no runtime can run the model", where=f"target {plan.target.name}", found="; ".join(notes))
    _keep(best, folder)
    _note(folder, "; ".join(notes) or "the only runtime of the machine", compared)
    return missed


def _compare(first: Path, second: Path, feeds: Feeds, database: TuningDatabase) -> tuple[bool, str, dict[str, Any]]:
    """Whether the second bundle is faster beyond noise, that in one clause, and the measurement.

    The verdict is stored under the digests of both artifacts, so that the same build takes the same decision.
    """
    bundles = [open_bundle(path, check=False) for path in (first, second)]
    targets = [bundle.report.target for bundle in bundles]
    shapes = {name: list(array.shape) for name, array in feeds.items()}
    files = [bundle.report.files[name].sha256 for bundle in bundles for name in bundle.report.artifact]
    workload = fingerprint_digest({"files": " ".join(files), "shapes": str(shapes)})
    fingerprint = {f"{t.runtime} {key}": value for t in targets for key, value in t.fingerprint.items()}

    def measure() -> tuple[dict[str, JsonValue], dict[str, Any]]:
        found = compare_loads(
            lambda: _call(bundles[0], feeds), lambda: _call(bundles[1], feeds), seconds=MEASURE_SECONDS
        )
        return {"verdict": found.verdict}, found.to_dict()

    record, _ = database.decide(KIND, workload, fingerprint, measure)
    verdict = str(record.value["verdict"])
    note = f"{targets[1].runtime} measured {verdict} against {targets[0].runtime}"
    return verdict == "faster", note, {"against": [t.runtime for t in targets], **record.measurements}


def _call(bundle: Bundle, feeds: Feeds) -> Call:
    return call_of(bundle_runtime(bundle).load(bundle.folder, bundle.artifact), feeds)


def _keep(chosen: Path, folder: Path) -> None:
    """Move the chosen bundle up and remove the others."""
    for other in folder.iterdir():
        if other != chosen:
            shutil.rmtree(other)
    for file in chosen.iterdir():
        file.rename(folder / file.name)
    chosen.rmdir()


def _note(folder: Path, note: str, compared: list[dict[str, Any]] | None = None) -> None:
    """Write the reason for the choice into the manifest, and what was measured into the measurements."""
    bundle = open_bundle(folder, check=False)
    target = bundle.report.target.model_copy(update={"note": note})
    text = bundle.report.model_copy(update={"target": target}).to_json()
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    measurements = {**bundle.measurements, "runtimes": compared or []}
    (folder / MEASUREMENTS).write_text(json.dumps(measurements, indent=1) + "\n", encoding="utf-8")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
