"""The figures that judge outputs, on values that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.compiler.compare_outputs import EXACT_DB, compare_outputs, relative_error


def f(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_figures() -> None:
    (found,) = compare_outputs({"y": f(4, 0, -2)}, {"y": f(4, 1, -2)})
    assert (found.max_abs, found.tolerance_needed, found.same_bits) == (1.0, 0.25, False)
    assert found.sqnr_db == pytest.approx(10 * np.log10(20))


def test_equal_outputs() -> None:
    (found,) = compare_outputs({"y": f(1, np.nan)}, {"y": f(1, np.nan)})
    assert (found.same_bits, found.tolerance_needed, found.sqnr_db, found.problem) == (True, 0, EXACT_DB, None)


def test_signed_zeros_are_other_bits_but_no_error() -> None:
    (found,) = compare_outputs({"y": f(0.0)}, {"y": f(-0.0)})
    assert not found.same_bits
    assert found.tolerance_needed == 0


@pytest.mark.parametrize(
    ("got", "problem"),
    [
        (f(1, np.nan), "NaN at 1 other places"),
        (f(1, np.inf), r"\+inf at 1 other places"),
        (f(1, -np.inf), "-inf at 1 other places"),
        (f(1, 2).astype(np.float64), "dtype float64"),
        (f(1), "shape"),
    ],
)
def test_problems_that_no_tolerance_covers(
    got: np.ndarray[tuple[int, ...], np.dtype[np.float32]], problem: str
) -> None:
    import re

    (found,) = compare_outputs({"y": f(1, 2)}, {"y": got})
    assert re.search(problem, str(found.problem))
    assert np.isnan(relative_error(f(1, 2), got))


def test_a_missing_output() -> None:
    assert compare_outputs({"y": f(1)}, {})[0].problem == "the output is missing"


def test_a_zero_reference() -> None:
    assert relative_error(f(0, 0), f(0, 0)) == 0
    assert relative_error(f(0, 0), f(0, 1e-9)) == np.inf


def test_integers_and_strings() -> None:
    assert relative_error(np.array([3, 1]), np.array([3, 2])) == pytest.approx(1 / 3)
    assert compare_outputs({"s": np.array(["a"], object)}, {"s": np.array(["b"], object)})[0].problem
