"""QEMU's user emulation: programs of aarch64 machines run here, slowly, with the results that the machine would give.

Nothing is installed: QEMU is taken from the PATH, else unpacked into the cache; no rights of root and no binfmt_misc.
What a process needs to be emulated is in its environment (``QEMU_LD_PREFIX``, ``QEMU_CPU``), so that it can start itself
again by the same two words of ``command``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tamis.compiler.errors import TargetUnavailableError
from tamis.compiler.machine_data import Machine
from tamis.compiler.progress import Progress
from tamis.targets.links import arm64_root, debian_packages
from tamis.targets.links.arm64_root import SITE, cache_folder, made_once, python
from tamis.targets.links.debian_packages import DebianPackages, unpack

ARCH = "aarch64"
PROGRAMS = ("qemu-aarch64-static", "qemu-aarch64")
PACKAGES = ("qemu-user-static", "qemu-user")
"""Where Debian has them, older releases first."""
LIBRARIES = "/lib/aarch64-linux-gnu:/usr/lib/aarch64-linux-gnu"
V8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
V8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
M1 = f"{V8_2} jscvt fcma sha3 sha512 asimdfhm dit uscat ilrcpc flagm sb paca pacg dcpodp flagm2 frint"
CPUINFO = """\
processor\t: {number}
BogoMIPS\t: 100.00
Features\t: {features}
CPU implementer\t: {implementer}
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: 1

"""


@dataclass(frozen=True)
class EmulatedCpu:
    """How a CPU is emulated.

    Args:
        model: QEMU's name of it, for ``QEMU_CPU``.
        features, implementer, variant, part: What ``/proc/cpuinfo`` says of it.
    """

    model: str
    features: str
    implementer: str
    variant: str
    part: str


CPUS = {
    "cortex-a53": EmulatedCpu("cortex-a53", V8, "0x41", "0x0", "0xd03"),
    "cortex-a72": EmulatedCpu("cortex-a72", V8, "0x41", "0x0", "0xd08"),
    "cortex-a76": EmulatedCpu("cortex-a76", V8_2, "0x41", "0x3", "0xd0b"),
    "neoverse-n1": EmulatedCpu("neoverse-n1", V8_2, "0x41", "0x3", "0xd0c"),
    "apple-m1": EmulatedCpu("max,sve=off,sme=off", M1, "0x61", "0x1", "0x022"),
}
"""LLVM's name of a CPU -> how it is emulated. QEMU has no Apple CPU: ``max`` has all that an M1 has, and more.

An instruction that the CPU lacks ends the process with SIGILL: those of the first two have no dot product."""

ANY_CPU = EmulatedCpu("max,sve=off,sme=off", V8_2, "0x41", "0x3", "0xd0c")
"""For CPUs that are not listed: whatever code they run will run, so that a wrong feature is not noticed."""


def unavailable(machine: Machine) -> str | None:
    """Why programs of ``machine`` cannot be emulated here, with a hint; None if they can, if the network works."""
    if machine.arch != ARCH:
        return f"machines of kind {ARCH} are emulated, {machine.name} is {machine.arch}; use another link"
    if not sys.platform.startswith("linux"):
        return f"QEMU's user emulation needs Linux, this is {sys.platform}; use another link"
    if _found() is None and (reason := debian_packages.unavailable()) is not None:
        return f"{PROGRAMS[0]} and {reason}; install the package {PACKAGES[0]}"
    if (reason := arm64_root.unavailable()) is not None:
        return f"the arm64 system cannot be made: {reason}"
    return None


def command() -> list[str]:
    """What emulates the Python of the arm64 system; both are fetched if they are not there.

    Raises:
        TargetUnavailableError: They cannot be fetched.
    """
    return [str(emulator()), str(python(_root()))]


def environment(cpu: str | None = None) -> dict[str, str]:
    """All environment variables of an emulated process.

    Args:
        cpu: LLVM's name of the machine's CPU; default: one that has every feature.

    Raises:
        TargetUnavailableError: This QEMU cannot emulate the CPU, or the system cannot be fetched.
    """
    root = _root()
    emulated = CPUS.get(cpu or "", ANY_CPU)
    model = emulated.model.partition(",")[0]
    if model not in _ask(emulator(), "-cpu", "help").split():
        raise TargetUnavailableError(
            f"this QEMU does not emulate {model}", found=version(), fix="install QEMU 7.2 or later"
        )
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/"),
        "TMPDIR": tempfile.gettempdir(),
        "LANG": "C.UTF-8",
        "QEMU_LD_PREFIX": str(_view(root, emulated)),
        "QEMU_CPU": emulated.model,
        "LD_LIBRARY_PATH": LIBRARIES,
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": str(root / SITE),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def version() -> str:
    """What the emulator calls itself."""
    return _ask(emulator(), "--version").partition("\n")[0].strip()


def emulator() -> Path:
    """QEMU: of the PATH, or in the cache, where it is put if need be.

    Raises:
        TargetUnavailableError: It cannot be fetched.
    """
    found = _found()
    if found is not None:
        return found
    with made_once(_cached()) as staging:
        if staging is not None:
            _unpack(staging)
    found = _found()
    if found is None:
        raise TargetUnavailableError("QEMU cannot be found", where=str(_cached()), fix=f"install {PACKAGES[0]}")
    return found


def _found() -> Path | None:
    for name in PROGRAMS:
        if (path := shutil.which(name)) is not None:
            return Path(path)
        if (cached := _cached() / name).is_file():
            return cached
    return None


def _cached() -> Path:
    return cache_folder() / f"qemu-{debian_packages.release_name().replace(' ', '-')}"


def _unpack(folder: Path) -> None:
    """Put the one program of a package that has them for all machines into ``folder``."""
    with tempfile.TemporaryDirectory(prefix="tamis-") as scratch, Progress("fetching QEMU") as progress:
        progress.update(0.0)
        packages = DebianPackages(Path(scratch) / "apt")
        for name in PACKAGES:
            unpacked = Path(scratch) / name
            unpacked.mkdir()
            unpack(packages.alone(name), unpacked)
            for program in PROGRAMS:
                if (found := unpacked / "usr/bin" / program).is_file():
                    shutil.move(found, folder / program)
                    return
    raise TargetUnavailableError(
        "the packages do not hold QEMU", expected=" or ".join(PROGRAMS), found=", ".join(PACKAGES)
    )


def _root() -> Path:
    with Progress("making the arm64 system") as progress:
        return arm64_root.arm64_root(progress.update)


def _view(root: Path, cpu: EmulatedCpu) -> Path:
    """The root as seen from a machine with that CPU: links, and a file of its own that describes the CPU.

    QEMU lets programs read the host's ``/proc/cpuinfo``, unless the prefix has one, and ONNX Runtime crashes on the
    description of a CPU of another kind. ``/sys`` stays the host's, so there are as many entries as the host has CPUs.
    """
    text = "".join(
        CPUINFO.format(
            number=number, features=cpu.features, implementer=cpu.implementer, variant=cpu.variant, part=cpu.part
        )
        for number in range(os.cpu_count() or 1)
    )
    path = root.parent / f"{root.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with made_once(path) as staging:
        if staging is not None:
            for entry in root.iterdir():
                (staging / entry.name).symlink_to(Path("..") / root.name / entry.name)
            (staging / "proc").mkdir()
            (staging / "proc/cpuinfo").write_text(text, encoding="ascii")
    return path


@cache
def _ask(program: Path, *arguments: str) -> str:
    """What QEMU says; its exit status is 1 when it lists CPUs."""
    try:
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise TargetUnavailableError("QEMU cannot be run", where=str(program), found=str(error)) from error
    if not done.stdout:
        found = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise TargetUnavailableError("QEMU says nothing", where=str(program), found=found)
    return done.stdout
