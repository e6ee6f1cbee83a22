"""A machine of ours as TVM names it."""

from __future__ import annotations

from typing import Any

from tamis.compiler.machine_data import Machine


def machine_target(machine: Machine, threads: int) -> dict[str, Any]:
    """The dict that ``tvm.target.Target`` takes.

    Args:
        machine: Its ``llvm`` section describes the CPU; with a ``gpu`` section, kernels are for that GPU and the CPU hosts.
        threads: Schedules are parallel up to so many threads.
    """
    cpu: dict[str, Any] = {
        "kind": "llvm",
        "mtriple": machine.llvm.triple,
        "mcpu": machine.llvm.cpu,
        "num-cores": threads,
    }
    if machine.llvm.features:
        cpu["mattr"] = list(machine.llvm.features)
    if machine.gpu is None:
        return cpu
    return {
        "kind": "cuda",
        "arch": machine.gpu.compute,
        "max_threads_per_block": machine.gpu.max_threads_per_block,
        "max_shared_memory_per_block": machine.gpu.shared_memory_per_block,
        "thread_warp_size": machine.gpu.warp_size,
        "host": cpu,
    }
