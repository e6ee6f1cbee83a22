"""Golden cases of a bundle: a few inputs with the outputs that the lowered model gave when it was built.

``golden.npz`` holds ``<case>/in/<name>`` and ``<case>/out/<name>``. A machine passes if every output is
within the manifest's tolerance of that output: the largest absolute difference over the largest
absolute expected value (normwise relative error), with NaN and infinity at the same places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.compiler.bundle import GOLDEN, Bundle, write_npz
from tamis.compiler.compare_outputs import relative_error
from tamis.compiler.data.array_file import npz_headers, read_npz
from tamis.compiler.errors import BundleError, DataError, VerificationError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.manifest import GoldenRecord
from tamis.compiler.target import Runner
from tamis.compiler.verify import CLOSE_TOLERANCE

Outputs = Mapping[str, np.ndarray[Any, Any]]

MARGIN = 4.0
"""Tolerance over the error that the lowered model itself shows against the unoptimized reference."""


def write_golden(folder: Path, cases: Sequence[tuple[Feeds, Outputs]], lowered: Runner) -> GoldenRecord:
    """Run the cases, write ``golden.npz`` and return how far another machine may be off.

    The tolerance of an output is that of its dtype, or ``MARGIN`` times the error between the lowered
    model and the same model with the runtime's optimizations off if that is larger: a quantized model
    may round a tie differently on another machine, by about as much as it does here.

    Args:
        folder: The bundle.
        cases: Inputs, and what the model computes with the runtime's optimizations off.
        lowered: The model as it is shipped.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    tolerances: dict[str, float] = {}
    for i, (feeds, expected) in enumerate(cases):
        outputs = lowered(feeds)
        arrays |= {f"{i}/in/{n}": a for n, a in feeds.items()} | {f"{i}/out/{n}": a for n, a in outputs.items()}
        for name, array in outputs.items():
            allowed = max(CLOSE_TOLERANCE.get(array.dtype.name, 0.0), MARGIN * relative_error(expected[name], array))
            tolerances[name] = max(tolerances.get(name, 0.0), float(f"{allowed:.3g}"))
    write_npz(folder / GOLDEN, arrays)
    return GoldenRecord(cases=len(cases), tolerances=tolerances)


@dataclass(frozen=True)
class Replay:
    """One golden output on this machine: how far off it was, and how far it may be."""

    case: int
    output: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the output is within its tolerance; a NaN error (a non-finite mismatch) is not."""
        return self.error <= self.tolerance


def read_golden(bundle: Bundle) -> list[tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]]:
    """The (inputs, expected outputs) of every case.

    Raises:
        BundleError: ``golden.npz`` cannot be read, or has no case, or a case without some of the bundle's outputs.
    """
    path, count = bundle.folder / GOLDEN, bundle.report.golden.cases
    try:
        arrays = read_npz(path, npz_headers(path))
        if not 1 <= count <= len(arrays):
            raise ValueError(f"{len(arrays)} arrays for {count} cases")
        cases: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {}) for _ in range(count)]
        for key, array in arrays.items():
            case, side, name = key.split("/", 2)
            cases[int(case)][side == "out"][name] = array.astype(object) if array.dtype.kind == "U" else array
        outputs = set(bundle.report.outputs)
        if unknown := sorted(outputs ^ set(bundle.report.golden.tolerances)):
            raise ValueError(f"no tolerance for the output {unknown[0]!r:.100}, or no such output")
        if any(set(expected) != outputs for _, expected in cases):
            raise ValueError("a case has other outputs than the bundle")
    except (DataError, ValueError, IndexError) as error:
        raise BundleError(f"{GOLDEN} cannot be read", where=str(bundle.path), found=str(error)) from error
    return cases


def replay(bundle: Bundle, runner: Runner) -> list[Replay]:
    """Run every golden case and compare.

    Raises:
        VerificationError: An output is further off than the manifest allows; the worst one is named.
    """
    found = [
        Replay(i, name, relative_error(want, got[name]), bundle.report.golden.tolerances[name])
        for i, (feeds, expected) in enumerate(read_golden(bundle))
        for got in (runner(feeds),)
        for name, want in expected.items()
    ]
    bad = [r for r in found if not r.ok]
    if bad:
        worst = max(bad, key=lambda r: r.error if r.error == r.error else np.inf)
        raise VerificationError(
            f"{len(bad)} of {len(found)} golden outputs are not reproduced on this machine",
            where=str(bundle.path),
            expected=f"output {worst.output} of case {worst.case} within {worst.tolerance:.3g} (relative)",
            found=f"{worst.error:.3g}",
            fix="compile the recipe for this machine",
        )
    return found
