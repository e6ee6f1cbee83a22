"""The bundle: a folder, or one zip file, that a deployment can ship.

::

    bundle.json         the manifest: recipe, steps, target, digests of all files below
    model.onnx | ...    the lowered model
    golden.npz          a few inputs with the outputs that they must give
    measurements.json   raw timings and the machine's state; not covered by any digest

Same inputs, same versions, same tuning database: same bytes for everything but ``measurements.json``.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tamis.compiler.errors import BundleError
from tamis.compiler.limits import BUNDLE, REPORT
from tamis.compiler.manifest import FileRecord, Manifest
from tamis.compiler.plain_file import is_file, limited_text, what_is_at
from tamis.compiler.zip_file import DAMAGE, checked_members, stays_inside

if TYPE_CHECKING:
    import numpy as np

    from tamis.compiler.target import Artifact

MANIFEST = "bundle.json"
GOLDEN = "golden.npz"
MEASUREMENTS = "measurements.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Args:
        path: Where it is: a folder or a zip file.
        folder: The folder with its files; a temporary one for a zip file, removed with this object.
        report: The manifest as data: steps with verdicts and figures, target, accuracy.
    """

    path: Path
    folder: Path
    report: Manifest

    @property
    def artifact(self) -> Artifact:
        """The lowered model, as the runtime wants it."""
        from tamis.compiler.target import Artifact

        return Artifact(self.report.target.runtime, self.report.artifact, self.report.target.settings)

    @cached_property
    def measurements(self) -> dict[str, Any]:
        """Raw timings of the build, as data; empty if the file was not shipped.

        Raises:
            BundleError: The file is damaged.
        """
        try:
            found: Any = json.loads(limited_text(self.folder / MEASUREMENTS, REPORT))
            return dict(found.items())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise BundleError(
                f"{MEASUREMENTS} cannot be read",
                where=str(self.path),
                found=str(error),
                fix="remove it: it is optional",
            ) from error


def is_bundle(path: Path) -> bool:
    """Whether ``path`` looks like one bundle, a folder of bundles, or a zipped bundle."""
    if what_is_at(path) == "a folder":
        return (path / MANIFEST).is_file() or any(path.glob(f"*/{MANIFEST}"))
    try:
        if not is_file(path) or not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except DAMAGE:
        return False


def is_output(path: Path) -> bool:
    """Whether ``path`` is what a compile writes and may replace: one bundle, a zipped one, or a folder of nothing but bundles."""
    if what_is_at(path) != "a folder" or (path / MANIFEST).is_file():
        return is_bundle(path)
    inside = list(path.iterdir())
    return bool(inside) and all((entry / MANIFEST).is_file() for entry in inside)


def open_bundle(path: Path, *, check: bool = True) -> Bundle:
    """Open a bundle and check the digests of its files.

    Args:
        path: A bundle folder, its ``bundle.json``, or a zipped bundle.
        check: Compare every file with the digest in the manifest.

    Raises:
        BundleError: Not a bundle, damaged, or from a newer format.
    """
    if path.name == MANIFEST and is_file(path):
        path = path.parent
    if is_file(path):
        folder, bundle = _unpack(path)
    else:
        folder, bundle = path, Bundle(path, path, _read_manifest(path))
    _check_names(bundle.report, path)
    if check:
        for name, record in bundle.report.files.items():
            _check_file(folder, name, record, path)
    return bundle


def _unpack(path: Path) -> tuple[Path, Bundle]:
    folder = Path(tempfile.mkdtemp(prefix="tamis-bundle-"))
    try:
        with zipfile.ZipFile(path) as archive:
            for info in checked_members(archive, BUNDLE, str(path), BundleError):
                _safe_name(info.filename, path)
                archive.extract(info, folder)
        bundle = Bundle(path, folder, _read_manifest(folder, path))
    except DAMAGE as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BundleError("is not a bundle or is damaged", where=str(path), found=str(error)) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(bundle, shutil.rmtree, folder, ignore_errors=True)
    return folder, bundle


def _safe_name(name: str, path: Path) -> None:
    if not stays_inside(name):
        raise BundleError("holds a file outside its own folder", where=str(path), found=repr(name[:100]))


def _check_names(report: Manifest, path: Path) -> None:
    """Every file that is used lies in the bundle and has a digest."""
    for name in report.files:
        _safe_name(name, path)
    if not report.artifact or (unknown := sorted(set(report.artifact) - set(report.files))):
        raise BundleError(
            f"{MANIFEST} names a model without its digest",
            where=str(path),
            found=repr(unknown[0][:100]) if report.artifact else "no model",
            fix="build the bundle again",
        )


def _read_manifest(folder: Path, path: Path | None = None) -> Manifest:
    where = str(path or folder)
    try:
        text = limited_text(folder / MANIFEST, REPORT)
    except ValueError as error:
        raise BundleError(f"{MANIFEST} cannot be read", where=where, found=str(error)) from error
    except OSError as error:
        raise BundleError(
            "is not a bundle", where=where, expected=f"a folder or zip file with {MANIFEST}", found=_what(folder)
        ) from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or MANIFEST
        raise BundleError(
            f"{MANIFEST} cannot be read", where=where, found=f"{place}: {first['msg']}", fix="build the bundle again"
        ) from error


def _what(folder: Path) -> str:
    if what_is_at(folder) == "nothing":
        return "nothing at that path"
    several = sorted(p.parent.name for p in folder.glob(f"*/{MANIFEST}"))
    return f"the bundles {', '.join(several)} in it; name one of them" if several else "none"


def _check_file(folder: Path, name: str, record: FileRecord, path: Path) -> None:
    file = folder / name
    if not is_file(file):
        raise BundleError(f"the file {name[:200]} is missing", where=str(path), fix="build or copy the bundle again")
    found = file_record(file)
    if found != record:
        raise BundleError(
            f"the file {name} was changed or damaged",
            where=str(path),
            expected=f"sha256 {record.sha256[:16]}… ({record.bytes} bytes)",
            found=f"{found.sha256[:16]}… ({found.bytes} bytes)",
            fix="build or copy the bundle again",
        )


def file_record(path: Path) -> FileRecord:
    """SHA-256 (hex) and size in bytes of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(sha256=digest, bytes=path.stat().st_size)


def write_archive(folder: Path, archive: Path) -> None:
    """Zip the files of ``folder``, byte for byte reproducible: sorted names, fixed dates, stored."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != archive):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            info.external_attr = 0o644 << 16
            with path.open("rb") as source, out.open(info, "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """``numpy.savez`` with fixed dates, so that the same arrays give the same bytes; texts have a fixed width."""
    import numpy as np

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            plain = np.asarray(array, str) if np.asarray(array).dtype.hasobject else np.asarray(array)
            np.lib.format.write_array(buffer, plain, allow_pickle=False)
            out.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue(), zipfile.ZIP_DEFLATED)
