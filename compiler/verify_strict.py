"""``tamis verify --strict``: nothing that differs from the build is let pass.

The recorded ratio is that of the bundle over the model as given. A bundle does not hold the model as given, and absolute
times of another machine or hour say nothing, so the ratio is measured again only where that model is given. It fails if the
whole interval lies below the recorded one by more than ``ALLOWED``. A bundle that is faster than recorded passes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.compiler.bundle import MEASUREMENTS, Bundle, file_record
from tamis.compiler.errors import BundleError, UsageError, VerificationError
from tamis.compiler.golden import read_golden
from tamis.compiler.loaded_model import bundle_runtime

ALLOWED = 0.05
"""Relative distance between the intervals that is no finding: two sessions of one machine differ by that much."""
SECONDS = 5.0
OF_THE_MACHINE = {"cpu", "isa", "threads", "gpu", "llvm"}
"""Parts of a fingerprint that machine features and golden outputs judge."""
NOT_MEASURED = "not measured again: the model as given is needed (--model)"


@dataclass(frozen=True)
class Remeasured:
    """The ratio of the bundle over the model as given: speedup and both ends of its interval, then and now."""

    recorded: tuple[float, float, float]
    found: tuple[float, float, float]

    @property
    def holds(self) -> bool:
        """Whether the bundle is as fast as recorded, within the noise."""
        return self.found[2] * (1 + ALLOWED) >= self.recorded[1]

    def describe(self) -> str:
        """For people."""
        return f"{_text(self.found)} over the model as given, recorded {_text(self.recorded)}"

    def to_dict(self) -> dict[str, Any]:
        """As data, for ``--json``."""
        names = ("speedup", "low", "high")
        return {
            "recorded": dict(zip(names, self.recorded, strict=True)),
            "found": dict(zip(names, self.found, strict=True)),
            "holds": self.holds,
        }


def require_no_warnings(bundle: Bundle, warnings: list[str]) -> None:
    """Refuse a machine that differs from the one of the build, and a runtime of another version.

    Raises:
        VerificationError: Any of it.
    """
    problems = [*warnings, *_versions(bundle)]
    if problems:
        raise VerificationError(
            "this machine is not what the bundle was built for",
            where=str(bundle.path),
            found="; ".join(problems),
            fix="compile the recipe here, install the versions that the manifest names, or leave out --strict",
        )


def _versions(bundle: Bundle) -> list[str]:
    record = bundle.report.target
    here = bundle_runtime(bundle).fingerprint(record.machine)
    return [
        f"{name} is {here.get(name, 'absent')}, the bundle was built with {value}"
        for name, value in sorted(record.fingerprint.items())
        if name not in OF_THE_MACHINE and here.get(name) != value
    ]


def remeasure(
    bundle: Bundle, model: Path, progress: Callable[[float, str], None] | None = None, seconds: float | None = None
) -> Remeasured:
    """Measure the bundle against the model as given, as the build did.

    Args:
        bundle: With checked digests.
        model: The ONNX file that it was compiled from.
        progress: Gets (fraction done, ratio of the last pair).
        seconds: How long to measure for; default 5.

    Raises:
        UsageError: ``model`` is another model.
        BundleError: The bundle has no recorded ratio.
        VerificationError: The bundle is slower than recorded.
    """
    recorded = _recorded(bundle)
    _require_source(bundle, model)
    now = _measure(bundle, model, progress, seconds or SECONDS)
    result = Remeasured(recorded, now)
    if not result.holds:
        raise VerificationError(
            "the bundle is slower than recorded, against the model as given",
            where=str(bundle.path),
            expected=_text(recorded),
            found=_text(now),
            fix="measure on a quiet machine, or compile the recipe for this one",
        )
    return result


def _recorded(bundle: Bundle) -> tuple[float, float, float]:
    found = bundle.measurements.get("speedup")
    values: list[Any] = [found.get(k) for k in ("speedup", "low", "high")] if isinstance(found, dict) else []
    if len(values) != 3 or not all(type(v) in (int, float) and v > 0 for v in values):
        raise BundleError(
            "has no recorded ratio to hold a measurement to",
            where=str(bundle.path),
            expected=f"{MEASUREMENTS} with a speedup",
            fix=f"ship {MEASUREMENTS} with the bundle, or leave out --model",
        )
    return float(values[0]), float(values[1]), float(values[2])


def _require_source(bundle: Bundle, model: Path) -> None:
    from tamis.compiler.digest import model_digest
    from tamis.compiler.model_file import load_model

    source = bundle.report.source
    if model_digest(load_model(model)) == source.get("weights"):  # its file alone does not tell of external data
        return
    raise UsageError(
        "is not the model that the bundle was compiled from",
        where=str(model),
        expected=f"{bundle.report.model}, sha256 {source.get(bundle.report.model, 'unknown')[:16]}…",
        found=f"{file_record(model).sha256[:16]}…",
    )


def _measure(
    bundle: Bundle, model: Path, progress: Callable[[float, str], None] | None, seconds: float
) -> tuple[float, float, float]:
    from tamis.compiler.measure import call_of
    from tamis.compiler.measure_loads import compare_loads
    from tamis.compiler.model_file import load_model
    from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class
    from tamis.compiler.tuning_database import TuningDatabase

    target = bundle_runtime(bundle)
    machine = bundle.report.target.machine
    runtime = target if target.measures_steps else runtime_class(REFERENCE_RUNTIME)()
    feeds = read_golden(bundle)[0][0]
    with tempfile.TemporaryDirectory(prefix="tamis-") as scratch:
        settings = runtime.default_settings(machine)
        given = runtime.lower(load_model(model), Path(scratch), machine, settings, TuningDatabase(Path(scratch) / "db"))
        found = compare_loads(
            lambda: call_of(runtime.load(Path(scratch), given), feeds),
            lambda: call_of(target.load(bundle.folder, bundle.artifact), feeds),
            seconds=seconds,
            progress=progress,
        )
    return found.speedup, found.low, found.high


def _text(ratio: tuple[float, float, float]) -> str:
    return f"{ratio[0]:.3f}x ({ratio[1]:.3f} to {ratio[2]:.3f})"
