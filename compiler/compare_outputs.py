"""How far the outputs of two models are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Outputs = Mapping[str, Array]

EXACT_DB = 300.0
"""Signal-to-noise ratio given for outputs without any difference, dB."""


@dataclass(frozen=True)
class OutputDifference:
    """One output of a model against the same output of the reference.

    Args:
        name: The output.
        same_bits: Equal bit for bit; any NaN equals any NaN.
        max_abs: Largest absolute difference; NaN if they do not compare.
        tolerance_needed: Normwise relative error: ``max_abs`` over the largest absolute value of the reference.
        sqnr_db: Signal-to-noise ratio, 10 log10(sum want^2 / sum (want - got)^2), dB.
        problem: A difference that no tolerance covers (dtype, shape, NaN or infinity at other places); else None.
    """

    name: str
    same_bits: bool
    max_abs: float
    tolerance_needed: float
    sqnr_db: float
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """As data, for ``--json``."""
        return asdict(self)


def compare_outputs(want: Outputs, got: Outputs) -> list[OutputDifference]:
    """Compare output by output, in the order of the reference; a missing output is a problem."""
    return [_compare(name, array, got.get(name)) for name, array in want.items()]


def relative_error(want: Array, got: Array) -> float:
    """Normwise relative error, max |want - got| / max |want|; NaN if shapes, dtypes or non-finite places differ."""
    return _compare("", want, got).tolerance_needed


def _compare(name: str, want: Array, got: Array | None) -> OutputDifference:
    problem = _problem(want, got)
    if problem is not None or got is None:
        return OutputDifference(name, False, np.nan, np.nan, -np.inf, problem)
    if want.dtype.kind not in "fiub" and want.dtype.name != "bfloat16":
        same = np.array_equal(want, got)
        return OutputDifference(
            name, same, 0.0 if same else np.nan, 0.0 if same else np.nan, EXACT_DB if same else -np.inf,
            None if same else "values differ",
        )  # fmt: skip
    finite = np.isfinite(want) if want.dtype.kind == "f" else np.ones(want.shape, bool)
    a, b = want[finite].astype(np.float64), got[finite].astype(np.float64)
    error = np.abs(a - b)
    max_abs = float(error.max(initial=0.0))
    scale = float(np.abs(a).max(initial=0.0))
    needed = max_abs / scale if scale else (0.0 if max_abs == 0 else np.inf)
    return OutputDifference(name, _same_bits(want, got), max_abs, needed, _sqnr(a, error), None)


def _sqnr(want: Array, error: Array) -> float:
    signal, noise = float(np.square(want).sum()), float(np.square(error).sum())
    if noise == 0:
        return EXACT_DB
    return 10 * float(np.log10(signal / noise)) if signal else -np.inf


def _problem(want: Array, got: Array | None) -> str | None:
    if got is None:
        return "the output is missing"
    if want.dtype != got.dtype:
        return f"dtype {got.dtype.name} instead of {want.dtype.name}"
    if want.shape != got.shape:
        return f"shape {list(got.shape)} instead of {list(want.shape)}"
    if want.dtype.kind == "f":
        for kind, test in (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf)):
            other = int((test(want) != test(got)).sum())
            if other:
                return f"{kind} at {other} other places"
    return None


def _same_bits(want: Array, got: Array) -> bool:
    if want.dtype.kind != "f":
        return bool(np.array_equal(want, got))
    unsigned = np.dtype(f"u{want.dtype.itemsize}")
    same = np.ascontiguousarray(want).view(unsigned) == np.ascontiguousarray(got).view(unsigned)
    return bool(np.all(same | (np.isnan(want) & np.isnan(got))))
