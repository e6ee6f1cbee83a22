"""How many channels each runtime's kernels take at once, on each kind of machine."""

from __future__ import annotations

import pytest

from tamis.compiler.machine import find_machine
from tamis.compiler.registry import runtime_class


@pytest.mark.parametrize(
    ("machine", "onnxruntime", "tvm"),
    [
        ("x86-64-avx2", 8, 8),
        ("x86-64-avx512-vnni", 16, 16),
        ("cortex-a72", 4, 4),
        ("neoverse-n1", 4, 4),
        ("nvidia-sm80", 8, 8),
        ("jetson-orin", 8, 8),
    ],
)
def test_of_shipped_machines(machine: str, onnxruntime: int, tvm: int) -> None:
    described = find_machine(machine)
    found = [runtime_class(name)().channel_multiple(described) for name in ("onnxruntime", "tvm")]
    assert found == [onnxruntime, tvm]
