"""What is fed against what is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tamis.compiler.errors import DataError
from tamis.compiler.feed_check import Input, check_feeds

INPUTS: tuple[Input, ...] = (("x", "float32", (2, "N", None)), ("t", "string", (1,)), ("any", None, ()))
X = np.zeros((2, 3, 4), np.float32)
GOOD: dict[str, Any] = {"x": X, "t": np.array(["a"]), "any": np.zeros(5, np.complex64)}


def test_what_fits() -> None:
    check_feeds(GOOD, INPUTS, where="m")
    check_feeds(GOOD | {"t": np.array(["a"], object)}, iter(INPUTS), where="m")
    check_feeds({}, (), where="m")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": X}, r"m: the model has no input 'y'.*expected x, t, any"),
        ({"x": X.astype(">f4")}, "input 'x': wrong element type; expected float32, found >f4"),
        ({"t": np.zeros(1)}, "input 't': wrong element type; expected string, found float64"),
        ({"x": X[:1]}, r"input 'x': wrong shape; expected \[2, N, \?\], found \[1, 3, 4\]"),
        ({"x": X[0]}, r"expected \[2, N, \?\], found \[3, 4\]"),
        ({"x": X.tolist()}, "input 'x': not an array"),
    ],
)
def test_what_does_not(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_feeds(GOOD | change, INPUTS, where="m")


def test_what_is_missing() -> None:
    with pytest.raises(DataError, match="m: no array for input 't', 'any'"):
        check_feeds({"x": X}, INPUTS, where="m")
    with pytest.raises(DataError, match="expected no inputs at all"):
        check_feeds({"x": X}, (), where="m")
