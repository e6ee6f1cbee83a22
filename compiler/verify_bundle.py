"""``tamis verify``: is this bundle whole, and does it give the right answers on this machine?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tamis.compiler.analysis.integer_products import unsafe_products
from tamis.compiler.bundle import Bundle, open_bundle
from tamis.compiler.errors import VerificationError
from tamis.compiler.golden import Replay, replay
from tamis.compiler.loaded_model import LoadedModel
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Machine
from tamis.compiler.manifest import NODES_NAMED
from tamis.compiler.model_file import load_model
from tamis.compiler.provenance.signing import SignatureReport, check_signature
from tamis.compiler.verify_strict import Remeasured, remeasure, require_no_warnings


@dataclass(frozen=True)
class BundleReport:
    """What was checked.

    Args:
        bundle: The bundle.
        replays: Every golden output with its error and tolerance.
        warnings: What differs between this machine and the one that the bundle was built for, without harm to
            the results: timings may differ.
        speed: The ratio over the model as given, measured again; None if it was not.
        signature: Of the key that was asked for; None if none was.
    """

    bundle: Bundle
    replays: tuple[Replay, ...]
    warnings: tuple[str, ...]
    speed: Remeasured | None = None
    signature: SignatureReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as data, for ``--json``."""
        return {
            "bundle": str(self.bundle.path),
            "target": self.bundle.report.target.name,
            "files": len(self.bundle.report.files),
            "golden": [asdict(r) for r in self.replays],
            "warnings": list(self.warnings),
            "speed": self.speed and self.speed.to_dict(),
            "signature": self.signature and asdict(self.signature),
            "ok": True,
        }


def verify_bundle(
    path: Path,
    *,
    strict: bool = False,
    model: Path | None = None,
    public_key: str | Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> BundleReport:
    """Check digests, machine features and golden outputs of a bundle.

    Args:
        path: The bundle.
        strict: Refuse what is a warning otherwise, and a runtime of another version.
        model: The model as given, to measure the recorded ratio again.
        public_key: Whose signature the bundle must bear: minisign's key file, or the key itself.
        progress: Of the measurement: gets (fraction done, ratio of the last pair).

    Raises:
        BundleError: A file is missing or changed, or there is no recorded ratio.
        VerificationError: The signature is missing or wrong, an int8 bundle was built for other integer units, a golden output is not reproduced, the
            bundle is slower than recorded, or ``strict`` refuses the machine.
        TargetUnavailableError: The bundle's runtime is not installed.
        UsageError: ``model`` is not the model that the bundle was compiled from.
    """
    bundle = open_bundle(path)
    signature = check_signature(bundle, public_key) if public_key is not None else None
    warnings = machine_warnings(bundle, find_machine("host"))
    if strict:
        require_no_warnings(bundle, warnings)
    replays = tuple(replay(bundle, LoadedModel(bundle)))
    speed = remeasure(bundle, model, progress) if model is not None else None
    return BundleReport(bundle, replays, tuple(warnings), speed, signature)


def machine_warnings(bundle: Bundle, here: Machine) -> list[str]:
    """Differences between the bundle's machine and ``here``.

    Raises:
        VerificationError: The bundle's 8-bit products would, or could, come out otherwise here.
    """
    built = bundle.report.target.machine
    _require_integers(bundle, built, here)
    warnings = []
    if missing := sorted(set(built.isa) - set(here.isa)):
        warnings.append(f"this machine lacks {', '.join(missing)}: expect other run times")
    if built.threads != here.threads:
        warnings.append(f"built for {built.threads} threads, this machine has {here.threads}")
    return warnings


def _require_integers(bundle: Bundle, built: Machine, here: Machine) -> None:
    """Refuse a quantized bundle whose products saturate here and did not where it was built for.

    Weights that are pair-safe give the same sums on every machine. Where the lowered model does not show its
    weights, the integer units must be the same. Between equal units the golden outputs are the judge.
    """
    lossy = [s.name for s in bundle.report.steps if s.contract == "lossy" and s.verdict == "kept"]
    if not lossy or built.int8 == here.int8:
        return
    model = bundle.folder / bundle.artifact.files[0]
    if model.suffix == ".onnx":
        unsafe = unsafe_products(load_model(model)) if built.int8.saturates != here.int8.saturates else []
        if not unsafe:
            return
        names = [p.node.name or p.node.outputs[0].name or p.node.op_type for p in unsafe]
        more = f" and {len(names) - NODES_NAMED} more" if len(names) > NODES_NAMED else ""
        subject = f"weights of {', '.join(names[:NODES_NAMED])}{more} are not pair-safe"
    else:
        subject = "the lowered model does not show its weights"
    raise VerificationError(
        f"the bundle was quantized ({', '.join(lossy)}) for other 8-bit units, and {subject}",
        where=str(bundle.path),
        expected=f"{_units(built)} ({built.name})",
        found=f"{_units(here)} on this machine",
        fix="compile the recipe for this machine",
    )


def _units(machine: Machine) -> str:
    return f"{machine.int8.pair}, {'saturating' if machine.int8.saturates else 'exact'}"
