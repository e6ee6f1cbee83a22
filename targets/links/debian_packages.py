"""Debian and Ubuntu packages unpacked into a folder: no root rights, nothing installed, any architecture."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tamis.compiler.errors import TargetUnavailableError

TOOLS = ("apt-get", "dpkg-deb")
SECONDS = 600.0
LONGEST_REASON = 300
UBUNTU_PORTS = """\
deb [arch={arch} signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] http://ports.ubuntu.com/ubuntu-ports \
{release} main universe
deb [arch={arch} signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] http://ports.ubuntu.com/ubuntu-ports \
{release}-updates main universe
"""
"""Ubuntu keeps other architectures than its two main ones on servers of their own."""


OS_RELEASE = Path("/etc/os-release")


def release_name(path: Path = OS_RELEASE) -> str:
    """The host's release, e.g. ``debian 12``; the same name has the same versions, but for fixes."""
    release = _release(path)
    return f"{release.get('ID', 'unknown')} {release.get('VERSION_ID', '')}".strip()


def unavailable() -> str | None:
    """Why packages cannot be unpacked here; None if they can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{' and '.join(missing)} cannot be found" if missing else None


class DebianPackages:
    """Packages of the host's release of Debian or Ubuntu.

    Args:
        scratch: A folder for what apt keeps; may be removed afterwards.
        arch: Debian's name of the architecture; default: the host's.
        os_release: The file that names the host's release.

    Raises:
        TargetUnavailableError: apt or dpkg-deb are missing, or the package lists cannot be had.
    """

    def __init__(self, scratch: Path, arch: str | None = None, os_release: Path = OS_RELEASE) -> None:
        if reason := unavailable():
            raise TargetUnavailableError(
                "packages of Debian cannot be unpacked", found=reason, fix="use a machine with Debian or Ubuntu"
            )
        self._scratch = scratch.absolute()
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._arch = arch or _run(["dpkg", "--print-architecture"], self._scratch).stdout.strip()
        self._warnings = ""
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self._scratch / folder).mkdir(parents=True, exist_ok=True)
        (self._scratch / "state/status").touch()
        self._options = self._settings(_release(os_release))
        self._warnings = self._apt("update").stderr

    def with_dependencies(self, names: Sequence[str]) -> list[Path]:
        """Download packages and all that they depend on; returns the files.

        Raises:
            TargetUnavailableError: There is no such package, or it cannot be downloaded.
        """
        self._apt("install", "--yes", "--no-install-recommends", "--download-only", *names)
        return sorted((self._scratch / "cache/archives").glob("*.deb"))

    def alone(self, name: str) -> Path:
        """Download one package without its dependencies; returns the file.

        Raises:
            TargetUnavailableError: There is no such package, or it cannot be downloaded.
        """
        folder = self._scratch / "alone" / name
        folder.mkdir(parents=True)
        self._apt("download", name, cwd=folder)
        return next(folder.glob("*.deb"))

    def _apt(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Without a network, the update of the lists merely warns; that is told when a package is then not found."""
        return _run(["apt-get", "-qq", *self._options, *arguments], cwd or self._scratch, self._warnings)

    def _settings(self, release: Mapping[str, str]) -> list[str]:
        """Everything that apt would read from, or write to, the system's folders is moved, but the host's sources."""
        settings = {
            "APT::Architecture": self._arch,
            "APT::Architectures": self._arch,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::State": str(self._scratch / "state"),
            "Dir::State::status": str(self._scratch / "state/status"),
            "Dir::Cache": str(self._scratch / "cache"),
        }
        if self._arch not in ("amd64", "i386") and "ubuntu" in (release.get("ID"), *release.get("ID_LIKE", "").split()):
            sources = self._scratch / "sources.list"
            name = release.get("UBUNTU_CODENAME") or release["VERSION_CODENAME"]
            sources.write_text(UBUNTU_PORTS.format(arch=self._arch, release=name), encoding="utf-8")
            settings |= {"Dir::Etc::sourcelist": str(sources), "Dir::Etc::sourceparts": "-"}
        return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def unpack(package: Path, folder: Path) -> None:
    """Unpack the files of a package into ``folder``.

    Raises:
        TargetUnavailableError: The package is damaged, or the disk is full.
    """
    _run(["dpkg-deb", "--extract", str(package), str(folder)], folder)


def _release(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, _, value in pairs}


def _run(command: list[str], cwd: Path, warnings: str = "") -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(command, f"no end after {SECONDS:g} s") from error
    if done.returncode:
        raise _failed(command, warnings + (done.stderr or done.stdout))
    return done


def _failed(command: list[str], reason: str) -> TargetUnavailableError:
    return TargetUnavailableError(
        f"{command[0]} failed",
        found=" ".join(reason.split())[-LONGEST_REASON:] or "no reason given",
        fix="see to the network and the disk, then try again",
    )
