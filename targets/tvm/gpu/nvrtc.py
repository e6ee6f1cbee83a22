"""CUDA C to machine code without a GPU and without a CUDA toolkit: NVIDIA's NVRTC, from the package ``nvidia-cuda-nvrtc``.

NVRTC 13.3 and later bring the headers that generated code includes, and the assembler ``ptxas``, which tells what every
kernel takes of the GPU. One library is all that is needed; it is called through ctypes.

References: NVRTC documentation, https://docs.nvidia.com/cuda/nvrtc/
"""

from __future__ import annotations

import ctypes
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from tamis.compiler.errors import LoweringError, TargetUnavailableError

DISTRIBUTION = "nvidia-cuda-nvrtc"
HINT = "pip install 'tamis[cuda]'"
OPTIONS = ("--ptxas-options=-v", "--disable-warnings", "--define-macro=INFINITY=__int_as_float(0x7f800000)")
"""Resource use goes to the log, warnings about unused variables of generated code do not. TVM writes ``INFINITY``, which
nvcc takes from the host's ``math.h`` and NVRTC does not know."""

_OK, _COMPILATION_FAILED = 0, 6


@dataclass(frozen=True)
class Compiled:
    """What became of a source.

    Args:
        cubin: Machine code for one architecture; None if the compilation failed.
        ptx: Assembly that the driver of a later architecture can compile; None if it was not reached.
        log: What compiler and assembler said.
    """

    cubin: bytes | None
    ptx: bytes | None
    log: str


def unavailable() -> str | None:
    """Why CUDA C cannot be compiled here, with the install hint; None if it can."""
    try:
        _library()
    except TargetUnavailableError as error:
        return str(error)
    return None


def compile_source(source: str, arch: str) -> Compiled:
    """Compile CUDA C++.

    Args:
        source: One translation unit; its kernels are ``extern "C"``.
        arch: For example ``sm_80``.

    Raises:
        TargetUnavailableError: NVRTC is not installed.
        LoweringError: NVRTC cannot be used at all. Errors in the source are in the result.
    """
    library = _library()
    program = ctypes.c_void_p()
    _call(library, "nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    try:
        options = [f"--gpu-architecture={arch}", *OPTIONS, f"--use-bundled-headers={_headers().name}"]
        texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = library.nvrtcCompileProgram(program, len(options), texts)
        if status not in (_OK, _COMPILATION_FAILED):
            _refuse(library, "nvrtcCompileProgram", status)
        log = _read(library, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if status == _COMPILATION_FAILED:
            return Compiled(None, None, log)
        return Compiled(_read(library, program, "CUBIN"), _read(library, program, "PTX").rstrip(b"\0"), log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _call(library, f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(library, f"nvrtcGet{what}", program, buffer)
    return buffer.raw


def _call(library: ctypes.CDLL, name: str, *arguments: object) -> None:
    status = getattr(library, name)(*arguments)
    if status != _OK:
        _refuse(library, name, status)


def _refuse(library: ctypes.CDLL, name: str, status: int) -> None:
    raise LoweringError(f"NVRTC failed in {name}", found=library.nvrtcGetErrorString(status).decode())


@cache
def _headers() -> tempfile.TemporaryDirectory[str]:
    """The folder that NVRTC writes its headers to (26 MB), once a process; gone with it."""
    return tempfile.TemporaryDirectory(prefix="tamis-")


@cache
def _library() -> ctypes.CDLL:
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise TargetUnavailableError("the CUDA compiler NVRTC is not installed", fix=HINT) from error
    paths = [Path(str(file.locate())) for file in distribution.files or () if file.name.startswith("libnvrtc.so")]
    if not paths:
        raise TargetUnavailableError(f"{DISTRIBUTION} brings no library for this system", fix=HINT)
    try:
        library = ctypes.CDLL(str(paths[0]))
    except OSError as error:
        raise TargetUnavailableError("the CUDA compiler NVRTC cannot be loaded", found=str(error), fix=HINT) from error
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    if not hasattr(library, "nvrtcInstallBundledHeaders"):
        raise TargetUnavailableError(
            f"{DISTRIBUTION} {distribution.version} is too old",
            expected="13.3 or later, which brings its headers",
            fix=HINT,
        )
    return library
