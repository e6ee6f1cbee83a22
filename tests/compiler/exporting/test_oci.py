"""OCI layouts: what the specification asks for, the same bytes, and nothing taken on trust on the way back."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tamis.compiler.bundle import open_bundle
from tamis.compiler.errors import BundleError, OutputError, UsageError
from tamis.compiler.exporting.oci_layout import export_oci
from tamis.compiler.exporting.oci_reader import import_oci
from tests.toy_bundle import write_bundle

MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


def layout(tmp_path: Path, out: str = "oci", **options: str) -> tuple[Path, str]:
    if not (tmp_path / "b").exists():
        write_bundle(tmp_path / "b")
    path = tmp_path / out
    return path, export_oci(open_bundle(tmp_path / "b"), path, **options)


def blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / digest.replace(":", "/")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_descriptor(folder: Path, descriptor: dict[str, Any]) -> bytes:
    """As the image specification has them: a media type, and size and digest of a blob that is there."""
    assert MEDIA_TYPE.fullmatch(descriptor["mediaType"])
    data = blob(folder, descriptor["digest"]).read_bytes()
    assert len(data) == descriptor["size"]
    assert descriptor["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    return data


def test_layout_is_as_specified(tmp_path: Path) -> None:
    folder, digest = layout(tmp_path, tag="v1")
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((folder / "index.json").read_text())
    assert index["schemaVersion"] == 2
    (entry,) = index["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
    manifest = json.loads(check_descriptor(folder, entry))
    assert manifest["schemaVersion"] == 2
    assert manifest["artifactType"] == "application/vnd.tamis.bundle.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert check_descriptor(folder, manifest["config"]) == b"{}"
    named = {
        la["annotations"]["org.opencontainers.image.title"]: check_descriptor(folder, la) for la in manifest["layers"]
    }
    assert named == {name: (tmp_path / "b" / name).read_bytes() for name in ("bundle.json", "golden.npz", "model.onnx")}
    assert len(list((folder / "blobs/sha256").iterdir())) == 5


def test_same_bundle_gives_the_same_bytes(tmp_path: Path) -> None:
    first, digest = layout(tmp_path)
    layout(tmp_path, "first.tar")
    (tmp_path / "b/measurements.json").write_text('{"other": 1}')
    os.utime(tmp_path / "b/model.onnx", (1, 1))
    second, again = layout(tmp_path, "second")
    layout(tmp_path, "second.tar")
    assert digest == again
    assert content(first) == content(second)
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


@pytest.mark.parametrize("out", ["oci", "oci.tar"])
def test_round_trip(tmp_path: Path, out: str) -> None:
    path, _ = layout(tmp_path, out)
    import_oci(path, tmp_path / "back")
    expected = content(tmp_path / "b")
    del expected["measurements.json"]
    assert content(tmp_path / "back") == expected


def test_a_layout_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    path, _ = layout(tmp_path)
    layout(tmp_path, tag="v2")
    assert "v2" in (path / "index.json").read_text()
    with pytest.raises(OutputError, match="not made by tamis"):
        layout(tmp_path, "b")
    with pytest.raises(OutputError, match=r"ends in \.tar"):
        layout(tmp_path, "oci.zip")
    with pytest.raises(UsageError, match="is not a tag"):
        layout(tmp_path, tag="a/b")


def test_what_holds_more_than_a_bundle_is_not_replaced(tmp_path: Path) -> None:
    path, _ = layout(tmp_path)
    index = json.loads((path / "index.json").read_text())
    index["manifests"].append({**index["manifests"][0], "artifactType": "application/x"})
    (path / "index.json").write_text(json.dumps(index))
    with tarfile.open(tmp_path / "mine.tar", "w") as archive:
        archive.add(tmp_path / "b", "b")
    for out in ("oci", "mine.tar"):
        with pytest.raises(OutputError, match="not made by tamis"):
            layout(tmp_path, out)
    layout(tmp_path, "good.tar")
    layout(tmp_path, "good.tar")
    (tmp_path / "work.txt").write_text("mine")
    for name in ("", "oci.zip", "bundle.json"):
        with pytest.raises(OutputError):
            import_oci(tmp_path / "good.tar", tmp_path / name)
    assert (tmp_path / "work.txt").exists()


def change_blob(folder: Path, manifest: dict[str, Any]) -> None:
    path = blob(folder, manifest["layers"][2]["digest"])
    path.write_bytes(b"x" * path.stat().st_size)


def change_manifest_of_bundle(folder: Path, manifest: dict[str, Any]) -> None:
    """Valid and of the same size, so that only the digest of the layer shows it."""
    path = blob(folder, manifest["layers"][0]["digest"])
    data = path.read_text()
    assert '"after": 0.875' in data
    path.write_text(data.replace('"after": 0.875', '"after": 0.999'))


def lengthen_blob(folder: Path, manifest: dict[str, Any]) -> None:
    with blob(folder, manifest["layers"][2]["digest"]).open("ab") as file:
        file.write(b"x" * 100)


def remove_blob(folder: Path, manifest: dict[str, Any]) -> None:
    blob(folder, manifest["layers"][2]["digest"]).unlink()


def pipe(folder: Path, manifest: dict[str, Any]) -> None:
    path = blob(folder, manifest["layers"][2]["digest"])
    path.unlink()
    os.mkfifo(path)


def add_code(manifest: dict[str, Any]) -> None:
    """A module that Python would take for NumPy beside the bundle's own loader."""
    manifest["layers"].append({**manifest["layers"][0], "annotations": {TITLE: "numpy.py"}})


@pytest.fixture
def bounded() -> Iterator[None]:
    """An end for what waits for a pipe."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def rewritten(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path, dict[str, Any]], None]:
    def damage(folder: Path, manifest: dict[str, Any]) -> None:
        """Change the manifest and make its digest right again."""
        edit(manifest)
        data = json.dumps(manifest).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blob(folder, digest).write_bytes(data)
        index = json.loads((folder / "index.json").read_text())
        index["manifests"][0].update(digest=digest, size=len(data))
        (folder / "index.json").write_text(json.dumps(index))

    return damage


TITLE = "org.opencontainers.image.title"
DAMAGES: dict[str, Callable[[Path, dict[str, Any]], object]] = {
    "changed": change_blob,
    "figures": change_manifest_of_bundle,
    "longer": lengthen_blob,
    "missing": remove_blob,
    "pipe": pipe,
    "code": rewritten(add_code),
    "manifest": lambda f, m: blob(f, json.loads((f / "index.json").read_text())["manifests"][0]["digest"]).write_text(
        "{}"
    ),
    "index": lambda f, m: (f / "index.json").write_text("[]"),
    "escape": rewritten(lambda m: m["layers"][0]["annotations"].update({TITLE: "../out"})),
    "absolute": rewritten(lambda m: m["layers"][0]["annotations"].update({TITLE: "/tmp/out"})),
    "twice": rewritten(lambda m: m["layers"].append(m["layers"][0])),
    "untitled": rewritten(lambda m: m["layers"][0].pop("annotations")),
    "digest": rewritten(lambda m: m["layers"][0].update(digest="sha256:../../../secret")),
    "huge": rewritten(lambda m: m["layers"][0].update(size=10**15)),
    "negative": rewritten(lambda m: m["layers"][0].update(size=-5)),
    "other": rewritten(lambda m: m.update(artifactType="text/plain")),
    "without": rewritten(lambda m: m["layers"].pop(0)),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_layouts_are_refused(tmp_path: Path, damage: str) -> None:
    folder, digest = layout(tmp_path)
    DAMAGES[damage](folder, json.loads(blob(folder, digest).read_text()))
    with pytest.raises(BundleError):
        import_oci(folder, tmp_path / "back")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "oci"]


def test_a_tag_chooses_among_artifacts(tmp_path: Path) -> None:
    folder, _ = layout(tmp_path, tag="a")
    index = json.loads((folder / "index.json").read_text())
    other = json.loads(json.dumps(index["manifests"][0]).replace('"a"', '"b"'))
    index["manifests"].append(other)
    (folder / "index.json").write_text(json.dumps(index))
    import_oci(folder, tmp_path / "back", tag="b")
    with pytest.raises(BundleError, match="found a, b; choose one with --tag"):
        import_oci(folder, tmp_path / "back")


def test_links_in_a_tar_lead_nowhere(tmp_path: Path) -> None:
    folder, digest = layout(tmp_path)
    victim = blob(folder, json.loads(blob(folder, digest).read_text())["layers"][0]["digest"])
    victim.unlink()
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        archive.add(folder, ".")
        info = tarfile.TarInfo(str(victim.relative_to(folder)))
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.add(layout(tmp_path, "again")[0], ".")
    with pytest.raises(BundleError):  # compressed: it could unpack to anything
        import_oci(tmp_path / "packed.tar", tmp_path / "back")
    shutil.rmtree(folder)
    with pytest.raises(BundleError):
        import_oci(tmp_path / "bad.tar", tmp_path / "back")
    with pytest.raises(BundleError):
        import_oci(tmp_path / "b/golden.npz", tmp_path / "back")
