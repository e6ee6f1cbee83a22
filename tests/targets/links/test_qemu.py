"""Emulated aarch64: the results are those of x86, and the CPU is the machine's, with what it lacks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tamis.compiler.errors import LoweringError, TargetUnavailableError
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import machine_names
from tamis.targets.links import debian_packages, qemu
from tamis.targets.links.remote_model import RemoteModel
from tests.targets.links.conftest import check, expected, feeds

Emulated = Callable[[str | None], dict[str, Any]]

ARM = [name for name in machine_names() if find_machine(name).arch == "aarch64" and find_machine(name).gpu is None]

DOT_PRODUCT = """
import ctypes, mmap
code = b"".join(word.to_bytes(4, "little") for word in (0x4E829420, 0xD65F03C0))  # sdot v0.4s, v1.16b, v2.16b; ret
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(code)
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
"""


def run(emulated: Emulated, cpu: str | None, code: str) -> subprocess.CompletedProcess[str]:
    """A program in the emulated Python."""
    arguments = emulated(cpu)
    command = [*arguments["command"], "-c", code]
    environment = arguments["environment"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=environment["TMPDIR"]
    )


@pytest.mark.parametrize("cpu", ["cortex-a53", "neoverse-n1"])
def test_onnxruntime(cpu: str, emulated: Emulated, onnx_file: Path, session_data: dict[str, Any]) -> None:
    check(RemoteModel("onnxruntime", onnx_file, session_data, **emulated(cpu))(feeds()), expected(feeds()))


def test_tvm(emulated: Emulated, libraries: Path, tvm_settings: dict[str, Any]) -> None:
    remote = RemoteModel("tvm", libraries / "aarch64.so", tvm_settings, **emulated("cortex-a53"))
    for seed in (1, 2):
        check(remote(feeds(seed)), expected(feeds(seed)))
    wall, cpu = remote.timed(feeds(), 3)
    assert wall > 0
    assert cpu > 0


def test_a_crash_is_told_with_its_signal(emulated: Emulated, onnx_file: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os\nos.abort()\n", encoding="ascii")
    with pytest.raises(LoweringError, match=r"found signal SIGABRT; .*uncaught target signal 6"):
        RemoteModel("onnxruntime", onnx_file, {}, program=program, **emulated(None))


@pytest.mark.parametrize(("cpu", "part"), [("cortex-a72", "0xd08"), ("apple-m1", "0x022"), ("cortex-x999", "0xd0c")])
def test_the_cpu_is_described(cpu: str, part: str, emulated: Emulated) -> None:
    ran = run(emulated, cpu, "import platform; print(platform.machine(), open('/proc/cpuinfo').read())")
    assert ran.stdout.startswith("aarch64 processor\t: 0\n")
    assert f"CPU part\t: {part}\n" in ran.stdout


@pytest.mark.parametrize("machine", ARM)
def test_a_cpu_without_the_dot_product_refuses_it(machine: str, emulated: Emulated) -> None:
    """So that code compiled with a feature that the machine lacks is noticed."""
    described = find_machine(machine)
    assert described.llvm.cpu in qemu.CPUS
    ran = run(emulated, described.llvm.cpu, DOT_PRODUCT)
    has = "asimddp" in described.isa
    assert has == ("+dotprod" in described.llvm.features)
    assert (ran.returncode == 0) == has
    assert has or "signal 4 (Illegal instruction)" in ran.stderr


def test_what_can_be_emulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert qemu.unavailable(find_machine("cortex-a72")) is None
    assert "x86-64-avx2 is x86-64" in str(qemu.unavailable(find_machine("x86-64-avx2")))
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = str(qemu.unavailable(find_machine("cortex-a72")))
    assert (
        "qemu-aarch64-static and apt-get and dpkg-deb cannot be found; install the package qemu-user-static" in reason
    )
    for name in qemu.PROGRAMS:
        (tmp_path / name).touch(mode=0o755)
    assert "the arm64 system cannot be made: apt-get" in str(qemu.unavailable(find_machine("cortex-a72")))


def test_an_old_qemu_is_refused(emulated: Emulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "qemu-aarch64-static"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo qemu 6.2 || echo cortex-a53 max\n', encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert qemu.environment("cortex-a53")["QEMU_CPU"] == "cortex-a53"
    with pytest.raises(TargetUnavailableError, match=r"does not emulate cortex-a76; found qemu 6\.2; install QEMU 7"):
        qemu.environment("cortex-a76")


def test_qemu_is_unpacked_if_it_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Newer releases have it in the second package; the first one is then empty."""

    class Packages:
        def __init__(self, scratch: Path) -> None:
            self.scratch = scratch

        def alone(self, name: str) -> Path:
            return Path(name)

    def unpack(package: Path, folder: Path) -> None:
        if package.name == qemu.PACKAGES[1]:
            (folder / "usr/bin").mkdir(parents=True)
            (folder / "usr/bin/qemu-aarch64").touch()
            (folder / "usr/bin/qemu-alpha").touch()

    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(qemu, "DebianPackages", Packages)
    monkeypatch.setattr(qemu, "unpack", unpack)
    found = qemu.emulator()
    assert found.name == "qemu-aarch64"
    assert found.is_relative_to(tmp_path / "cache" / "emulation")
    assert list(found.parent.iterdir()) == [found]
    assert qemu.emulator() == found
    assert debian_packages.unavailable() is not None
