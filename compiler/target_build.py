"""Build the bundle of one target: steps, legalization, tuning, lowering, proof, measurements, manifest."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.apply_steps import Applied, apply_steps
from tamis.compiler.budget import MB, Reached, missed
from tamis.compiler.bundle import GOLDEN, MANIFEST, MEASUREMENTS, file_record
from tamis.compiler.digest import model_digest
from tamis.compiler.errors import VerificationError
from tamis.compiler.golden import write_golden
from tamis.compiler.graph_pass import Contract, Feeds
from tamis.compiler.manifest import AccuracyRecord, InputRecord, Manifest, TargetRecord
from tamis.compiler.measure import call_of, time_one
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.model_file import INLINE_LIMIT, weight_bytes
from tamis.compiler.outcome import Outcome
from tamis.compiler.prepare import Prepared, TargetPlan, is_lossy
from tamis.compiler.progress import Progress
from tamis.compiler.recipe_file import resolved
from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class
from tamis.compiler.session import Session
from tamis.compiler.target import Artifact, Runner, Target, TuneBudget
from tamis.compiler.timings import Comparison
from tamis.compiler.tuning_database import TuningDatabase, fingerprint_digest
from tamis.compiler.verify import Verdict
from tamis.compiler.versions import versions

GOLDEN_CASES = 3
MEASURE_SECONDS = 5.0


@dataclass(frozen=True)
class Proof:
    """What the lowered model was shown to do.

    Args:
        verdict: Lowered outputs against the model as given.
        accuracy: Task metric before and after; None without labelled samples.
    """

    verdict: Verdict
    accuracy: AccuracyRecord | None


def build_target(made: Prepared, plan: TargetPlan, folder: Path, session: Session) -> list[str]:
    """Write the bundle of one target into ``folder``.

    Returns:
        One clause for each budget that is missed; the bundle is written in any case.

    Raises:
        ContractViolationError: A step, or the lowering itself, changed the function beyond its contract.
        LoweringError: The runtime refuses the model.
        TamisError: See ``Pipeline.run``.
    """
    target, database, phases = plan.target, session.database, session.phases
    applied = apply_steps(made, plan, session)
    outcome, verifier, samples = applied.outcome, applied.verifier, applied.samples
    settings, tuning = tuned_settings(outcome.model, samples[0], plan, session)
    with phases.phase("lower"):
        artifact = target.runtime.lower(outcome.model, folder, target.machine, settings, database)
        if target.link.executes:
            lowered = target.runtime.load(folder, artifact)
        else:
            lowered = target.runtime.stand_in(outcome.model, target.machine, settings, database)
    proof = _prove(made, plan, applied, lowered, session)
    with phases.phase("golden"):
        golden = write_golden(folder, verifier.accepted(GOLDEN_CASES), lowered)
    measured, reached = _measure(made, target, lowered, samples[0], proof, folder, artifact, session)
    manifest = _manifest(made, plan, outcome, artifact, proof, golden, folder)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    measurements = {
        **measured,
        "guard": outcome.timings,
        "reused_steps": outcome.reused,
        "tuning": tuning,
        "seconds": {k: round(v, 4) for k, v in phases.seconds.items()},
        "fingerprint": target.runtime.fingerprint(target.machine),
    }
    (folder / MEASUREMENTS).write_text(json.dumps(measurements, indent=1) + "\n", encoding="utf-8")
    return missed(made.recipe.budget, reached, outcome.broken, outcome.short)


def tuned_settings(
    model: ir.Model, feeds: Feeds, plan: TargetPlan, session: Session
) -> tuple[Mapping[str, JsonValue], Mapping[str, Any]]:
    """Runtime settings: from the tuning database, else searched and stored, else the defaults."""
    target, section, database = plan.target, plan.section.tune, session.database
    if section is None:
        return target.runtime.default_settings(target.machine), {}
    fingerprint = target.runtime.fingerprint(target.machine)
    shapes = {name: list(array.shape) for name, array in feeds.items()}
    options = target.runtime.options.model_dump(mode="json")
    parts = {"model": model_digest(model), "shapes": str(shapes), "options": str(options)}
    if section.trials is not None:
        parts["trials"] = str(section.trials)
    workload = fingerprint_digest(parts)
    kind = f"{target.runtime.name}-settings"

    def search() -> tuple[Mapping[str, JsonValue], Mapping[str, Any]]:
        with session.phases.phase("tune"), Progress("tuning", quiet=session.quiet) as progress:
            budget = TuneBudget(section.seconds, section.trials)
            found = target.runtime.tune(model, feeds, target.machine, budget, database, progress.update)
        return found.settings, found.record

    record, reused = database.decide(kind, workload, fingerprint, search)
    return record.value, {**record.measurements, "reused": reused}


def _prove(made: Prepared, plan: TargetPlan, applied: Applied, lowered: Runner, session: Session) -> Proof:
    """Hold the lowered model, as it will be shipped, to the model as given."""
    lossy = any(r.contract == "lossy" and r.verdict == "kept" for r in applied.outcome.records)
    with session.phases.phase("verify"):
        verdict = applied.verifier.check_runner(lowered, Contract.LOSSY if lossy else Contract.CLOSE)
    if not verdict.ok and not verdict.over_budget:
        raise VerificationError(
            f"the lowered model differs from the model as given on input {verdict.case!r}",
            where=f"target {plan.target.name}, runtime {plan.target.runtime.name}",
            expected=verdict.expected,
            found=verdict.detail,
            fix="lower the runtime's optimization level in the target's options, or report this",
        )
    if made.evaluation is None or applied.baseline is None:
        return Proof(verdict, None)
    with session.phases.phase("evaluate"):
        score = made.evaluation.score(lowered, quiet=session.quiet)
    return Proof(
        verdict,
        AccuracyRecord(
            metric=made.evaluation.metric,
            samples=len(made.evaluation.samples),
            before=applied.baseline,
            after=score,
            drop=made.evaluation.drop(applied.baseline, score),
        ),
    )


def _measure(
    made: Prepared,
    target: Target,
    lowered: Runner,
    feeds: Feeds,
    proof: Proof,
    folder: Path,
    artifact: Artifact,
    session: Session,
) -> tuple[dict[str, Any], Reached]:
    """Latency, paired ratio over the model as given, and size; no times if the link gives none that mean anything.

    A pair needs both models in memory. Of models over ``INLINE_LIMIT`` the ratio is measured only if a budget
    asks for it, so that a compile needs little more memory than the model.
    """
    budget = made.recipe.budget.latency
    asked = budget is not None and budget.min_speedup is not None
    latency = ratio = None
    if target.link.measures:
        with session.phases.phase("measure"), Progress("measuring", quiet=session.quiet) as progress:
            latency = time_one(call_of(lowered, feeds), seconds=MEASURE_SECONDS / 2)
            if target.link.kind == "here" and (asked or weight_bytes(made.model) < INLINE_LIMIT):
                ratio = _speedup(made, target, feeds, folder, artifact, progress, session.database)
    reached = Reached(
        drop=proof.accuracy.drop if proof.accuracy else None,
        sqnr_db=proof.verdict.sqnr_db,
        milliseconds=latency.percentile_ms(budget.p) if budget and latency else None,
        speedup=ratio.speedup if ratio else None,
        megabytes=sum((folder / f).stat().st_size for f in artifact.files) / MB,
    )
    return {"speedup": ratio and ratio.to_dict(), "latency": latency and latency.to_dict()}, reached


def _speedup(
    made: Prepared,
    target: Target,
    feeds: Feeds,
    folder: Path,
    artifact: Artifact,
    progress: Progress,
    database: TuningDatabase,
) -> Comparison:
    """The artifact against the model as given, lowered without any step and with the default settings.

    The model as given runs on the target's runtime if that takes any model, else on the reference runtime.
    """
    runtime = target.runtime if target.runtime.measures_steps else runtime_class(REFERENCE_RUNTIME)()
    with tempfile.TemporaryDirectory(prefix="tamis-") as scratch:
        settings = runtime.default_settings(target.machine)
        given = runtime.lower(made.model, Path(scratch), target.machine, settings, database)
        return compare_loads(
            lambda: call_of(runtime.load(Path(scratch), given), feeds),
            lambda: call_of(target.runtime.load(folder, artifact), feeds),
            seconds=MEASURE_SECONDS,
            progress=progress.update,
        )


def _manifest(
    made: Prepared, plan: TargetPlan, outcome: Outcome, artifact: Artifact, proof: Proof, golden: Any, folder: Path
) -> Manifest:
    target = plan.target
    return Manifest(
        tamis=versions()["tamis"],
        model=made.path.name,
        source=_sources(made),
        recipe=resolved(made.recipe),
        target=TargetRecord(
            name=target.name,
            machine=target.machine,
            runtime=target.runtime.name,
            options=target.runtime.options.model_dump(mode="json"),
            settings=dict(artifact.settings),
            fingerprint=target.runtime.fingerprint(target.machine),
            link=target.link,
            executed=target.link.executes,
            notes=artifact.notes,
        ),
        inputs={t.name: InputRecord(dtype=t.dtype.name, shape=t.shape) for t in made.spec.tensors},
        dims=dict(made.spec.dims),
        outputs=tuple(str(v.name) for v in outcome.model.graph.outputs),
        steps=tuple(outcome.records),
        drift=proof.verdict.tolerance_needed,
        sqnr_db=proof.verdict.sqnr_db if is_lossy(plan) else None,
        accuracy=proof.accuracy,
        golden=golden,
        artifact=artifact.files,
        files={f: file_record(folder / f) for f in (*artifact.files, GOLDEN)},
        versions=versions(),
    )


def _sources(made: Prepared) -> dict[str, str]:
    """What the build read -> SHA-256."""
    found = {made.path.name: file_record(made.path).sha256, "weights": model_digest(made.model)}
    if made.calibration:
        found["calibration"] = made.calibration.digest()
    if made.evaluation:
        found["evaluation"] = made.evaluation.samples.digest()
    return found
