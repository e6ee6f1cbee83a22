"""Everything in tamis that reads a file from elsewhere, each as a function of one file, with the changes that suit it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from tamis.compiler.bundle import is_bundle, open_bundle
from tamis.compiler.cache.archive import import_archive
from tamis.compiler.cache.remote import Remote
from tamis.compiler.cache.store import Store
from tamis.compiler.data_source import open_samples
from tamis.compiler.exporting.oci_layout import MANIFEST_TYPE
from tamis.compiler.exporting.oci_reader import import_oci
from tamis.compiler.feeds import read_feeds
from tamis.compiler.golden import read_golden
from tamis.compiler.model_file import load_model, model_bytes, tensors
from tamis.compiler.recipe import DataSource
from tamis.compiler.recipe_file import load_recipe
from tamis.compiler.serving.infer_request import parse_request
from tamis.compiler.tuning_database import TuningDatabase
from tests.fuzz.mutate import Mutation, change_bytes, change_json, change_model, change_zip

KEY = "0" * 64


@dataclass(frozen=True)
class Reader:
    """A reader to fuzz.

    Args:
        file: Name of the file that is changed; other files of the corpus case lie beside it.
        read: Reads it, and all that a user of it would read.
        changes: How it is changed.
        quick: Cases in the quick share.
    """

    file: str
    read: Callable[[Path], object]
    changes: tuple[Mutation, ...] = (change_bytes,)
    quick: int = 60


def read_model(path: Path) -> None:
    model = load_model(path)
    for _, tensor in tensors(model):
        tensor.numpy()
    model_bytes(model)


def read_bundle(path: Path) -> None:
    is_bundle(path)
    bundle = open_bundle(path)
    assert bundle.measurements is not None
    assert bundle.artifact.files
    read_golden(bundle)


def read_any_bundle(path: Path) -> None:
    """A bundle whose maker has made the digests fit."""
    bundle = open_bundle(path.parent, check=False)
    read_golden(bundle)


def feed(path: Path) -> None:
    value = ir.Value(name="x", shape=ir.Shape([1, 3]), type=ir.TensorType(ir.DataType.FLOAT))
    read_feeds([str(path)], [value])


def samples_of(source: Callable[[Path], DataSource], shape: list[int]) -> Callable[[Path], None]:
    """A reader of samples for one float input ``x``."""

    def read(path: Path) -> None:
        value = ir.Value(name="x", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        found = open_samples(source(path), path.parent, [value])
        for index, _ in enumerate(found):
            assert not found.labelled or found.labels(index) is not None
        found.digest()

    return read


def import_records(path: Path) -> None:
    with TuningDatabase(path.parent / "new.sqlite") as database:
        database.import_from(path)
        list(database.items())
        database.tuned_digest()


def read_database(path: Path) -> None:
    with TuningDatabase(path) as database:
        list(database.items())
        database.tuned_digest()


def fetch_entry(path: Path) -> None:
    """The entry behind a remote whose owner is the attacker: its own digest fits whatever it says."""
    text = path.read_bytes()
    try:
        body = json.loads(text)
        body.pop("sha256", None)
        text = json.dumps(
            {**body, "sha256": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}
        ).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    there = path.parent / "remote"
    place = there / "entries" / KEY[:2] / f"{KEY}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text)
    store = Store(path.parent / "store", limit=10**6, remote=Remote(f"file://{there}"))
    store.get(KEY)


def import_manifest(path: Path) -> None:
    """An OCI manifest under its right digest, beside the blobs of the layout."""
    data, layout = path.read_bytes(), path.parent / "layout"
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    entry = {"mediaType": MANIFEST_TYPE, "digest": f"sha256:{digest}", "size": len(data)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    import_oci(layout, path.parent / "back")


READERS: Mapping[str, Reader] = {
    "recipe": Reader("recipe.yaml", load_recipe),
    "model": Reader("model.onnx", read_model, (change_bytes, change_model, change_model)),
    "bundle": Reader("bundle.json", read_bundle, (change_bytes, change_json, change_json)),
    "golden": Reader("golden.npz", read_any_bundle, (change_bytes, change_zip)),
    "zip": Reader("bundle.zip", read_bundle, (change_bytes, change_zip)),
    "npz": Reader("a.npz", samples_of(lambda p: DataSource(npz=p.name), [1, 3]), (change_bytes, change_zip)),
    "feeds": Reader("feeds.npz", feed, (change_bytes, change_zip)),
    "npy": Reader("a.npy", samples_of(lambda p: DataSource(folder="."), [1, 3])),
    "image": Reader("a.png", samples_of(lambda p: DataSource(images="."), [1, 3, 4, 4])),
    "gif": Reader("a.gif", samples_of(lambda p: DataSource(images="."), [1, 3, 4, 4]), quick=40),
    "jpeg": Reader("a.jpg", samples_of(lambda p: DataSource(images="."), [1, 3, 4, 4]), quick=40),
    "csv": Reader("a.csv", samples_of(lambda p: DataSource(csv=p.name), [1, 3, 4, 4])),
    "records": Reader("records.jsonl", import_records, (change_bytes, change_json)),
    "database": Reader("tuning.sqlite", read_database),
    "remote": Reader("entry.json", fetch_entry, (change_bytes, change_json)),
    "archive": Reader("cache.tar", lambda path: import_archive(Store(path.parent / "store"), path)),
    "oci": Reader("manifest.json", import_manifest, (change_bytes, change_json, change_json)),
    "layout": Reader("layout.tar", lambda path: import_oci(path, path.parent / "back")),
    "request": Reader("request.json", lambda path: parse_request(path.read_bytes(), None), (change_bytes, change_json)),
}
