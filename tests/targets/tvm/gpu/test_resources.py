"""Limits of GPUs, and what is refused because of them."""

from __future__ import annotations

import pytest

from tamis.compiler.errors import LoweringError
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Gpu
from tamis.targets.tvm.gpu.checklist import device_checklist
from tamis.targets.tvm.gpu.resources import Kernel, Usage, excesses, require_fit


def gpu() -> Gpu:
    found = find_machine("nvidia-sm86").gpu
    assert found is not None
    return found


def kernel(
    threads: int = 256, registers: int = 64, static: int = 0, dynamic: int = 0, spills: int = 0, name: str = "k"
) -> Kernel:
    usage = Usage(registers, static, stack=0, spill_stores=spills, spill_loads=spills)
    return Kernel(name, (threads, 1, 1), (1, 1, 1), dynamic, usage)


@pytest.mark.parametrize(
    "fits",
    [
        kernel(),
        kernel(threads=1024, registers=64),
        kernel(threads=256, registers=255),
        kernel(static=49152),
        kernel(static=1024, dynamic=100 * 1024 - 1024 - 1024),
        kernel(spills=4096),
    ],
)
def test_at_the_limits(fits: Kernel) -> None:
    assert list(excesses([fits], gpu())) == []
    require_fit([fits], gpu())


@pytest.mark.parametrize(
    ("over", "resource", "used", "limit"),
    [
        (kernel(threads=1025, registers=8), "threads a block", 1025, 1024),
        (kernel(threads=32, registers=256), "registers a thread", 256, 255),
        (kernel(threads=1024, registers=65), "registers a block", 1024 * 72, 65536),
        (kernel(threads=1000, registers=66), "registers a block", 32 * 32 * 72, 65536),
        (kernel(static=49153), "bytes of static shared memory", 49153, 49152),
        (kernel(dynamic=99 * 1024 + 1), "bytes of shared memory", 99 * 1024 + 1, 99 * 1024),
        (kernel(static=2048, dynamic=98 * 1024), "bytes of shared memory", 100 * 1024, 99 * 1024),
    ],
)
def test_over_a_limit(over: Kernel, resource: str, used: int, limit: int) -> None:
    (found,) = excesses([kernel(name="fine"), over], gpu())
    assert (found.kernel, found.resource, found.used, found.limit) == ("k", resource, used, limit)


def test_the_error_names_kernel_resource_and_limit() -> None:
    wrong = [kernel(name="first", threads=2048, registers=8), kernel(name="second", static=50000)]
    with pytest.raises(LoweringError) as error:
        require_fit(wrong, gpu())
    assert str(error.value).startswith(
        "kernel 'first': a kernel does not fit sm_86 (and 1 more); expected at most 1024 threads a block, found 2048"
    )


def test_a_row_of_the_report() -> None:
    row = Kernel("k", (8, 16, 1), (None, 4, 1), 128, Usage(40, 3456, 16, 8, 4)).to_json()
    assert row == {
        "name": "k",
        "grid": [None, 4, 1],
        "block": [8, 16, 1],
        "threads": 128,
        "dynamic_shared": 128,
        "registers": 40,
        "static_shared": 3456,
        "stack": 16,
        "spill_stores": 8,
        "spill_loads": 4,
    }


def test_the_checklist_names_what_to_look_at() -> None:
    text = device_checklist(gpu(), [kernel(name="a", spills=8), kernel(name="b", dynamic=60000), kernel(name="c")])
    assert "compute capability 8.6" in text
    assert "ran out in a:" in text
    assert "asked for by b." in text
    assert "ran out" not in device_checklist(gpu(), [kernel()])
