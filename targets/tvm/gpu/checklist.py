"""What a bundle says is still to be checked on the device, since it was compiled where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.compiler.machine_data import Gpu
from tamis.targets.tvm.gpu.resources import Kernel


def device_checklist(gpu: Gpu, kernels: Sequence[Kernel]) -> str:
    """Markdown for ``on-device.md``.

    Args:
        gpu: What the kernels were compiled for.
        kernels: What they take of it.
    """
    capability = f"{gpu.compute[3:-1]}.{gpu.compute[-1]}" if gpu.compute[-1].isdigit() else gpu.compute[3:]
    spilling = [kernel.name for kernel in kernels if kernel.usage.spill_stores]
    dynamic = [kernel.name for kernel in kernels if kernel.dynamic_shared > gpu.shared_memory_per_block]
    lines = [
        "# To be checked on the device",
        "",
        f"The {len(kernels)} kernels of this model were compiled for {gpu.compute} and held to its limits, on a machine",
        "without a GPU. They were not executed there: results and speed on the GPU are not known yet.",
        "",
        f"1. `nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv` shows compute capability {capability}",
        "   and a driver for CUDA 13 (580 or later). A GPU of a later capability compiles `kernels.ptx` when it first loads",
        "   the model, which takes a driver at least as new as the compiler that wrote it; an earlier GPU cannot run it.",
        "2. `pip install 'tamis[tvm,cuda]'` brings TVM's runtime and `libcudart.so.13`.",
        "3. `tamis verify BUNDLE` reproduces the golden outputs. A difference is a defect: report it with `kernels.json`.",
        "4. `compute-sanitizer tamis verify BUNDLE`, and with `--tool racecheck`, finds no error.",
        "5. `tamis bench` measures it; `tamis tune` over `link: {rpc: host:port}` searches better schedules.",
    ]
    if spilling:
        lines += ["", f"Registers ran out in {', '.join(spilling)}: look there first if it is slow."]
    if dynamic:
        lines += ["", f"More shared memory than the default is asked for by {', '.join(dynamic)}."]
    return "\n".join(lines) + "\n"
