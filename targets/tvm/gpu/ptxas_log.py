"""Reads what ``ptxas -v`` says about kernels.

::

    ptxas info    : Compiling entry function 'k' for 'sm_80'
    ptxas info    : Function properties for k
    ptxas         .     256 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
    ptxas info    : Used 32 registers, used 1 barriers, 256 bytes cumulative stack size, 4096 bytes smem, 368 bytes cmem[0]
"""

from __future__ import annotations

import re

from tamis.targets.tvm.gpu.resources import Usage

_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+)(?:\+\d+)? bytes smem")


def usage_of_kernels(log: str) -> dict[str, Usage]:
    """Usage by name of kernel.

    Raises:
        ValueError: An entry function lacks a line of its report.
    """
    blocks = _ENTRY.split(log)
    return {name: _usage(name, text) for name, text in zip(blocks[1::2], blocks[2::2], strict=True)}


def _usage(name: str, text: str) -> Usage:
    stack, used, shared = _STACK.search(text), _USED.search(text), _SHARED.search(text)
    if stack is None or used is None:
        raise ValueError(f"the assembler reports nothing on kernel {name!r}: {text.strip()[:200]!r}")
    return Usage(int(used[1]), int(shared[1]) if shared else 0, int(stack[1]), int(stack[2]), int(stack[3]))
