"""``tamis verify``: is this bundle whole, and does it give the right answers on this machine?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tamis.compiler.bundle import Bundle, open_bundle
from tamis.compiler.errors import VerificationError
from tamis.compiler.golden import Replay, replay
from tamis.compiler.loaded_model import LoadedModel
from tamis.compiler.machine import find_machine
from tamis.compiler.target import Machine


@dataclass(frozen=True)
class BundleReport:
    """What was checked.

    Args:
        bundle: The bundle.
        replays: Every golden output with its error and tolerance.
        warnings: What differs between this machine and the one that the bundle was built for, without harm to
            the results: timings may differ.
    """

    bundle: Bundle
    replays: tuple[Replay, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as data, for ``--json``."""
        return {
            "bundle": str(self.bundle.path),
            "target": self.bundle.report.target.name,
            "files": len(self.bundle.report.files),
            "golden": [asdict(r) for r in self.replays],
            "warnings": list(self.warnings),
            "ok": True,
        }


def verify_bundle(path: Path) -> BundleReport:
    """Check digests, machine features and golden outputs of a bundle.

    Raises:
        BundleError: A file is missing or changed.
        VerificationError: An int8 bundle was built for other integer units, or a golden output is not reproduced.
        TargetUnavailableError: The bundle's runtime is not installed.
    """
    bundle = open_bundle(path)
    warnings = machine_warnings(bundle, find_machine("host"))
    return BundleReport(bundle, tuple(replay(bundle, LoadedModel(bundle))), tuple(warnings))


def machine_warnings(bundle: Bundle, here: Machine) -> list[str]:
    """Differences between the bundle's machine and ``here``.

    Raises:
        VerificationError: The bundle holds 8-bit arithmetic and the machines' integer units differ.
    """
    built = bundle.report.target.machine
    lossy = [s.name for s in bundle.report.steps if s.contract == "lossy" and s.verdict == "kept"]
    if lossy and built.int8 != here.int8:
        raise VerificationError(
            f"the bundle was quantized ({', '.join(lossy)}) for other 8-bit units",
            where=str(bundle.path),
            expected=f"{built.int8.pair}, {'saturating' if built.int8.saturates else 'exact'} ({built.name})",
            found=f"{here.int8.pair}, {'saturating' if here.int8.saturates else 'exact'} on this machine",
            fix="compile the recipe for this machine",
        )
    warnings = []
    if missing := sorted(set(built.isa) - set(here.isa)):
        warnings.append(f"this machine lacks {', '.join(missing)}: expect other run times")
    if built.threads != here.threads:
        warnings.append(f"built for {built.threads} threads, this machine has {here.threads}")
    return warnings
