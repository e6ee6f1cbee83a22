"""Texts and bytes of the protocol, without a server."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest

from tamis.compiler.errors import DataError
from tamis.compiler.serving.tensors import DTYPES, datatype_of, from_bytes, from_json, to_bytes, to_json

TEXTS = np.array([["", "a\0"], ["ü", "long text"]], object)


def test_texts_survive_both_forms() -> None:
    for found in (
        from_bytes(memoryview(to_bytes(TEXTS)), "BYTES", (2, 2), "x"),
        from_json(to_json(TEXTS, "x"), "BYTES", (2, 2), "x"),
        from_json(TEXTS.tolist(), "BYTES", (2, 2), "x"),
    ):
        assert found.dtype == object and found.shape == (2, 2) and (found == TEXTS).all()


@pytest.mark.parametrize("data", [b"\1\0\0", struct.pack("<I", 5) + b"abcd", struct.pack("<I", 1) + b"\xff", b""])
def test_broken_texts_are_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        from_bytes(memoryview(data), "BYTES", (1,), "x")


@pytest.mark.parametrize("datatype", DTYPES)
def test_empty_tensors_and_scalars(datatype: str) -> None:
    assert from_json([], datatype, (0, 3), "x").shape == (0, 3)
    assert from_bytes(memoryview(b""), datatype, (3, 0), "x").shape == (3, 0)
    one = from_json([True if datatype == "BOOL" else 1], datatype, (), "x")
    assert one.shape == () and datatype_of(one.dtype, "x") == datatype
    assert from_bytes(memoryview(to_bytes(one)), datatype, (), "x") == one


@pytest.mark.parametrize(
    ("data", "datatype"),
    [
        ([1], "BOOL"),
        ([True], "INT8"),
        ([1.0], "INT8"),
        ([-1], "UINT8"),
        ([2**64], "UINT64"),
        ([65520.0], "FP16"),
        ([3], "BYTES"),
    ],
)
def test_values_of_another_type_are_refused(data: list[object], datatype: str) -> None:
    with pytest.raises(DataError):
        from_json(data, datatype, (1,), "x")


def test_the_largest_values_pass() -> None:
    assert from_json([2**64 - 1, 0], "UINT64", (2,), "x").tolist() == [2**64 - 1, 0]
    assert from_json([65504], "FP16", (1,), "x") == 65504


def test_odd_booleans_are_refused() -> None:
    with pytest.raises(DataError):
        from_bytes(memoryview(b"\2"), "BOOL", (1,), "x")


def test_a_long_text_among_numbers_takes_no_memory() -> None:
    data: list[object] = ["x" * 5000, *["a"] * 5000]
    tracemalloc.start()
    with pytest.raises(DataError, match="values of FP32"):
        from_json(data, "FP32", (5001,), "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
