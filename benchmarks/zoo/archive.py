"""Take named members out of an archive and nothing else: .whl and .zip, .tgz and .tar.*, .deb.

A member is named by its path in the archive with ``/`` and without a leading ``./``. Absolute paths,
``..`` and members that are links or folders are refused, whatever the archive says.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath


class ArchiveError(RuntimeError):
    """A member is missing, is not a plain file or would land outside the folder; or the archive is damaged."""


def extract(archive: Path, members: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write the named members below ``folder``.

    Returns:
        Member -> path of the written file.

    Raises:
        ArchiveError: See there.
    """
    targets = {member: folder / _safe(member) for member in members}
    try:
        found = set()
        for name, content in _contents(archive, set(members)):
            targets[name].parent.mkdir(parents=True, exist_ok=True)
            targets[name].write_bytes(content)
            found.add(name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{archive.name} is damaged: {error}") from error
    missing = sorted(set(members) - found)
    if missing:
        raise ArchiveError(f"{archive.name} has no plain file {missing[0]!r}")
    return targets


def _safe(member: str) -> PurePosixPath:
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or not path.parts:
        raise ArchiveError(f"refusing the member {member!r}: it could land outside the target folder")
    return path


def _contents(archive: Path, members: set[str]) -> Iterator[tuple[str, bytes]]:
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as whole:
            for info in whole.infolist():
                if info.filename in members and not info.is_dir():
                    yield info.filename, whole.read(info)
        return
    with tarfile.open(fileobj=io.BytesIO(_tar_bytes(archive))) as tar:
        for entry in tar:
            name = entry.name.removeprefix("./")
            stream = tar.extractfile(entry) if name in members and entry.isreg() else None
            if stream is not None:
                yield name, stream.read()


def _tar_bytes(archive: Path) -> bytes:
    if archive.suffix != ".deb":
        return archive.read_bytes()
    try:
        done = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ArchiveError("dpkg-deb is not installed; it is what opens a Debian package") from error
    if done.returncode:
        raise ArchiveError(f"{archive.name}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
