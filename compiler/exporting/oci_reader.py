"""Read a bundle back from an OCI image layout, with distrust: sizes, digests and names are checked."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tamis.compiler.bundle import MANIFEST, is_output, open_bundle
from tamis.compiler.errors import BundleError, OutputError
from tamis.compiler.exporting.oci_layout import ARTIFACT_TYPE, MANIFEST_TYPE, TAG, TITLE
from tamis.compiler.exporting.shipped import SIGNATURE
from tamis.compiler.limits import BUNDLE
from tamis.compiler.plain_file import is_file
from tamis.compiler.staging import staged
from tamis.compiler.zip_file import MAX_MEMBERS, stays_inside

JSON_LIMIT = 16 << 20
"""Largest index or manifest that is read, bytes."""

Opener = Callable[[str], IO[bytes]]
"""Opens a file of the layout by its name; raises ``KeyError`` or ``OSError``."""


def import_oci(source: Path, out: Path, *, tag: str | None = None) -> None:
    """Write the bundle that an OCI layout holds.

    Args:
        source: A layout: folder or ``.tar``.
        out: Folder of the bundle to write.
        tag: Which artifact of the index. Default: the only one.

    Raises:
        BundleError: Not a layout with such a bundle, or damaged.
        OutputError, WriteError: ``out`` cannot be written.
    """
    if out.suffix == ".zip" or out.name == MANIFEST:
        raise OutputError("is not a name for a folder", where=str(out), fix="name the folder of the bundle to write")
    with _opened(source) as opener, staged(out.absolute(), replaceable=is_output) as staging:
        try:
            manifest = _manifest(opener, tag, source)
            layers = _layers(manifest, source)
            for name, layer in layers.items():
                path = staging.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                _copy_blob(opener, layer, path, source)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError, tarfile.TarError) as error:
            raise _damaged(source, f"{type(error).__name__}: {error}") from error
        try:
            covered = {MANIFEST, SIGNATURE, *open_bundle(staging.folder).report.files}
        except BundleError as error:
            raise _damaged(source, str(error).removeprefix(f"{staging.folder}: ")) from error
        if extra := sorted(layers.keys() - covered):
            raise _damaged(source, f"the file {extra[0]!r:.100}, which {MANIFEST} does not name")


@contextmanager
def _opened(source: Path) -> Iterator[Opener]:
    if source.is_dir():
        yield lambda name: _plain(source / name)
        return
    try:
        if not is_file(source):
            raise FileNotFoundError("no such file")
        archive = tarfile.open(source, "r:")  # noqa: SIM115  (never compressed: it unpacks to no more than it is)
    except (OSError, tarfile.TarError) as error:
        raise _damaged(source, str(error)) from error
    with archive:

        def member(name: str) -> IO[bytes]:
            stream = archive.extractfile(name)
            if stream is None:
                raise KeyError(name)
            return stream

        yield member


def _plain(path: Path) -> IO[bytes]:
    if not is_file(path):
        raise FileNotFoundError(f"{path} is not a file")
    return path.open("rb")


def _manifest(opener: Opener, tag: str | None, source: Path) -> dict[str, Any]:
    index = _read_json(opener, "index.json", source)
    entries = [e for e in index["manifests"] if e.get("mediaType") == MANIFEST_TYPE]
    tags = [(e.get("annotations") or {}).get(TAG) for e in entries]
    chosen = [e for e, name in zip(entries, tags, strict=True) if tag in (None, name)]
    if len(chosen) != 1:
        raise BundleError(
            "does not say which artifact is meant",
            where=str(source),
            expected="one artifact" if tag is None else f"one artifact with tag {tag!r}",
            found=", ".join(map(str, tags[:10])) or "none",
            fix="choose one with --tag",
        )
    digest = _digest(chosen[0])
    manifest = _read_json(opener, f"blobs/sha256/{digest}", source, digest)
    if manifest.get("artifactType") != ARTIFACT_TYPE:
        raise BundleError(
            "is not a bundle",
            where=str(source),
            expected=f"an artifact of type {ARTIFACT_TYPE}",
            found=repr(manifest.get("artifactType")),
        )
    return manifest


def _layers(manifest: dict[str, Any], source: Path) -> dict[str, dict[str, Any]]:
    layers: dict[str, dict[str, Any]] = {}
    for layer in manifest["layers"]:
        name = layer["annotations"][TITLE]
        if not isinstance(name, str) or not name or name in layers or not stays_inside(name):
            raise _damaged(source, f"a file called {name!r:.100}")
        layers[name] = layer
    total = sum(_size(layer) for layer in layers.values())
    if len(layers) > MAX_MEMBERS or total > BUNDLE.most:
        raise BundleError(
            "the bundle is too large",
            where=str(source),
            expected=f"at most {BUNDLE.most} bytes in {MAX_MEMBERS} files",
            found=f"{total} bytes in {len(layers)} files",
            fix=BUNDLE.fix,
        )
    return layers


def _size(descriptor: dict[str, Any]) -> int:
    size = descriptor["size"]
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"size {size!r}")
    return size


def _digest(descriptor: dict[str, Any]) -> str:
    algorithm, _, digest = descriptor["digest"].partition(":")
    if algorithm != "sha256" or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"digest {descriptor['digest']!r:.100}")
    return str(digest)


def _read_json(opener: Opener, name: str, source: Path, digest: str | None = None) -> dict[str, Any]:
    try:
        with opener(name) as stream:
            data = stream.read(JSON_LIMIT + 1)
    except (KeyError, OSError) as error:
        raise _damaged(source, f"no file {name}") from error
    if len(data) > JSON_LIMIT:
        raise _damaged(source, f"{name} is larger than {JSON_LIMIT} bytes")
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(source, f"{name} has another digest")
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004
    return found


def _copy_blob(opener: Opener, layer: dict[str, Any], path: Path, source: Path) -> None:
    digest, size = _digest(layer), _size(layer)
    name = f"blobs/sha256/{digest}"
    try:
        stream = opener(name)
    except (KeyError, OSError) as error:
        raise _damaged(source, f"no file {name}") from error
    with stream, path.open("wb") as out:
        shutil.copyfileobj(_Limited(stream, size), out, 1 << 20)
    with path.open("rb") as written:
        found = hashlib.file_digest(written, "sha256").hexdigest()
    if found != digest or path.stat().st_size != size:
        raise _damaged(source, f"{name} has another digest or size")


class _Limited:
    """A stream that ends one byte after ``size``, so that a longer blob is seen and no more of it is written."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size + 1

    def read(self, count: int = -1, /) -> bytes:
        data = self._stream.read(self._left if count < 0 else min(count, self._left))
        self._left -= len(data)
        return data


def _damaged(source: Path, found: str) -> BundleError:
    return BundleError(
        "is not an OCI layout or is damaged", where=str(source), found=found[:300], fix="export or copy it again"
    )
