"""Detection, on simulated systems and on this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.targets.hardware import cpu_limits, cpu_topology
from tamis.targets.hardware.host import detect, machine_from


@pytest.mark.parametrize(
    ("features", "arch", "pair", "saturates", "multiple"),
    [
        (("ssse3", "avx2", "fma"), "x86-64", "u8s8", True, 8),
        (("avx2", "fma", "avx_vnni"), "x86-64", "u8s8", False, 8),
        (("avx2", "fma", "avx512f", "avx512_vnni"), "x86-64", "u8s8", False, 16),
        (("asimd", "asimddp"), "aarch64", "s8s8", False, 16),
    ],
)
def test_what_follows_from_the_features(
    features: tuple[str, ...], arch: str, pair: str, saturates: bool, multiple: int
) -> None:
    machine = machine_from(set(features), arch=arch, description="d", llvm_cpu="c", cpus=(0,), threads=1)
    assert (machine.int8.pair, machine.int8.saturates, machine.channel_multiple) == (pair, saturates, multiple)


def test_this_machine() -> None:
    machine = detect()
    assert machine.name == "host"
    assert 1 <= machine.threads <= len(cpu_limits.usable_cpus())


@pytest.mark.parametrize(("quota", "threads"), [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5)])
def test_the_quota_of_a_container(tmp_path: Path, quota: str, threads: float | None) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/pod/app\n")
    (tmp_path / "sys/fs/cgroup/pod").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/pod/cpu.max").write_text(f"{quota}\n")
    assert cpu_limits.cpu_quota(tmp_path) == threads
    assert cpu_limits.usable_threads(tmp_path) >= 1


def test_caches_and_cores_of_a_system_with_two_threads_a_core(tmp_path: Path) -> None:
    for cpu in range(4):
        (tmp_path / f"cpu{cpu}/topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}/topology/core_id").write_text(f"{cpu // 2}\n")
        (tmp_path / f"cpu{cpu}/topology/physical_package_id").write_text("0\n")
        core = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        for i, (level, kind, size, shared) in enumerate(
            [
                ("1", "Data", "32K", core),
                ("1", "Instruction", "64K", core),
                ("2", "Unified", "1M", core),
                ("3", "Unified", "8M", "0-3"),
            ]
        ):
            folder = tmp_path / f"cpu{cpu}/cache/index{i}"
            folder.mkdir(parents=True)
            for name, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                (folder / name).write_text(f"{text}\n")
    assert cpu_topology.cores((0, 1, 2, 3), tmp_path) == 2
    found = cpu_topology.caches((0, 1, 2, 3), tmp_path)
    assert (found.l1d, found.l2, found.l3) == (32 << 10, 1 << 20, 8 << 20)
    assert cpu_topology.caches((9,), tmp_path).l1d == 0
