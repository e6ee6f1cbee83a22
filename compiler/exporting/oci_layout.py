"""A bundle as an OCI artifact: an image layout in a folder or a tar file.

::

    oci-layout               {"imageLayoutVersion": "1.0.0"}
    index.json               one manifest, by its digest, with a tag
    blobs/sha256/<digest>    the manifest, the empty configuration, and each file of the bundle as a layer

Each layer names its file in ``org.opencontainers.image.title``, so that ``oras pull`` writes the bundle's folder
again. The same bundle gives the same bytes.

References: https://github.com/opencontainers/image-spec, image-layout.md and manifest.md (guidelines for artifacts).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.compiler.bundle import Bundle, file_record
from tamis.compiler.errors import OutputError, UsageError
from tamis.compiler.exporting.shipped import shipped_files
from tamis.compiler.staging import staged

ARTIFACT_TYPE = "application/vnd.tamis.bundle.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
TAG = "org.opencontainers.image.ref.name"
EMPTY = b"{}"
LAYER_TYPES = {".json": "application/json", ".onnx": "application/vnd.onnx", ".npz": "application/zip"}
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

Layout = dict[str, Path | bytes]
"""Path in the layout -> a file to copy, or content."""


def export_oci(bundle: Bundle, out: Path, *, tag: str = "latest") -> str:
    """Write the layout of a bundle.

    Args:
        bundle: With checked digests.
        out: A folder, or a path that ends in ``.tar``.
        tag: Name of the artifact in the index.

    Returns:
        The digest of the manifest, ``sha256:...``; a registry names the artifact by it.

    Raises:
        UsageError: ``tag`` is not a tag, or ``out`` has another suffix.
        OutputError: ``out`` cannot be written, or holds something else than a layout.
        WriteError: The disk is full or broken.
    """
    if not _TAG.fullmatch(tag):
        raise UsageError(
            "is not a tag", where="--tag", expected="letters, digits and ._- , 128 at most", found=repr(tag)
        )
    if out.suffix not in ("", ".tar") and not out.is_dir():
        raise OutputError("unknown kind of output", where=str(out), expected="a folder, or a path that ends in .tar")
    content, digest = layout(bundle, tag)
    with staged(out.absolute(), replaceable=_is_layout) as staging:
        if out.suffix == ".tar" and not out.is_dir():
            staging.single = True
            _write_tar(content, staging.folder / out.name)
        else:
            _write_folder(content, staging.folder)
    return digest


def layout(bundle: Bundle, tag: str) -> tuple[Layout, str]:
    """All files of the layout, and the digest of the manifest."""
    content: Layout = {}
    layers = []
    for name, path in shipped_files(bundle).items():
        record = file_record(path)
        content[_blob(record.sha256)] = path
        kind = LAYER_TYPES.get(path.suffix, "application/octet-stream")
        layers.append(_descriptor(kind, record.sha256, record.bytes, {TITLE: name}))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {**_add(content, EMPTY_TYPE, EMPTY), "data": "e30="},
        "layers": layers,
        "annotations": {
            TITLE: bundle.report.model,
            "dev.tamis.machine": bundle.report.target.name,
            "dev.tamis.runtime": bundle.report.target.runtime,
            "dev.tamis.version": bundle.report.tamis,
        },
    }
    described = _add(content, MANIFEST_TYPE, _json(manifest))
    entry = {**described, "artifactType": ARTIFACT_TYPE, "annotations": {TAG: tag}}
    content["index.json"] = _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]})
    content["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    return content, described["digest"]


def _add(content: Layout, kind: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    content[_blob(digest)] = data
    return _descriptor(kind, digest, len(data))


def _descriptor(kind: str, sha256: str, size: int, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}
    return {**found, "annotations": annotations} if annotations else found


def _blob(sha256: str) -> str:
    return f"blobs/sha256/{sha256}"


def _json(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _write_folder(content: Layout, folder: Path) -> None:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            shutil.copyfile(data, path)
        else:
            path.write_bytes(data)


def _write_tar(content: Layout, out: Path) -> None:
    folders = sorted({str(p) for name in content for p in PurePosixPath(name).parents if p.name})
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for name, data in sorted(content.items()):
            info = tarfile.TarInfo(name)
            info.size = data.stat().st_size if isinstance(data, Path) else len(data)
            with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as stream:
                archive.addfile(info, stream)


def _is_layout(path: Path) -> bool:
    """Whether ``path`` may be replaced: a layout, in a folder or a tar file, that holds one bundle and nothing else."""
    try:
        if path.is_file():
            with tarfile.open(path, "r:") as archive:
                found = archive.extractfile("index.json")
                text = found.read() if found is not None else b""
        else:
            text = (path / "index.json").read_bytes()
        return [entry["artifactType"] for entry in json.loads(text)["manifests"]] == [ARTIFACT_TYPE]
    except (OSError, ValueError, KeyError, TypeError, tarfile.TarError):
        return False
