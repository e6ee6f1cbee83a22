"""From an executable to a shared library, without a system tool chain. Runs in the compiler process."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

GLIBC = "2.28"
"""The oldest C library that linked models run with; that of the aarch64 wheels of TVM and ONNX Runtime."""


@functools.cache
def zig() -> str:
    """Path of the program in the package ``ziglang``; by ``python -m ziglang``, each link would begin with a Python."""
    import ziglang

    return str(Path(ziglang.__file__).with_name("zig"))


class ZigLinker:
    """Links objects into a shared library for any Linux machine, by the linker that the package ``ziglang`` brings.

    The first library of a machine family takes about 20 s, while the C library's symbols for it are put together; zig
    keeps them in its cache.

    Args:
        triple: LLVM's name of the machine, e.g. ``aarch64-linux-gnu``.
    """

    output_format = "so"

    def __init__(self, triple: str) -> None:
        self.triple = triple

    def get_target_triple(self) -> str:
        """For TVM, which asks its linker."""
        return self.triple

    def __call__(self, output: str, objects: str | Sequence[str], options: Sequence[str] | None = None) -> None:
        """Link. Raises ``RuntimeError`` with what the linker said."""
        files = [objects] if isinstance(objects, str) else list(objects)
        flags = ["-target", f"{self.triple}.{GLIBC}", "-shared", "-fPIC", "-s", "-lm", "-o", output]
        run = subprocess.run(
            [zig(), "cc", *flags, *files, *(options or ())], check=False, capture_output=True, text=True
        )
        if run.returncode:
            raise RuntimeError(f"the linker failed: {run.stderr.strip()[-500:]}")


def export_library(executable: object, path: Path, triple: str) -> None:
    """Write ``executable`` to ``path`` for machines called ``triple``."""
    executable.export_library(str(path), fcompile=ZigLinker(triple))  # type: ignore[attr-defined]
