"""Whether a GPU that can run a bundle is at hand, asked of NVIDIA's driver."""

from __future__ import annotations

import shutil
import subprocess

from tamis.compiler.machine_data import Gpu

PROGRAM = "nvidia-smi"
QUERY = ("--query-gpu=compute_cap", "--format=csv,noheader")
SECONDS = 20.0


def device_missing(gpu: Gpu) -> str | None:
    """Why kernels for ``gpu`` cannot run here; None if there is such a GPU, or one of a later compute capability."""
    if shutil.which(PROGRAM) is None:
        return f"this machine has no NVIDIA driver ({PROGRAM} is not there) for a {gpu.compute} GPU"
    try:
        run = subprocess.run([PROGRAM, *QUERY], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{PROGRAM} gives no answer: {error}"
    found = [line.strip() for line in run.stdout.splitlines() if line.strip()[:1].isdigit()]
    if run.returncode or not found:
        return f"{PROGRAM} finds no GPU: {run.stderr.strip() or run.stdout.strip()}"
    if max(map(_version, found)) < _version(gpu.compute):
        return f"this machine's GPU has compute capability {found[0]}, {gpu.compute} is needed"
    return None


def _version(text: str) -> int:
    """``8.0`` and ``sm_80`` as 80."""
    return int("".join(c for c in text if c.isdigit()))
