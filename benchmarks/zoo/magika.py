"""Magika, a classifier of file types by their bytes, on files of known type out of PyPI wheels.

Source: ``magika==1.0.3`` (Apache-2.0), the model as shipped. Input ``bytes: int32 [1, 2048]``: the first and the last
1024 bytes of the file without outer white space, 256 where there are none. Output ``target_label [1, 214]``:
probability of each type. There is no floating-point input at all.

Data: the 274 files of ``magika_files.txt``, 26 types by extension, so a few may be wrong; a template of a type
also counts as that type. Every fifth calibrates, the others evaluate. Labels: ``int64 [219, 2]``, the accepted
types, padded with -1. Metric: ``accuracy``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import Package
from benchmarks.zoo.folder import write_npz, write_recipe

MAGIKA = Package("pypi", "magika", "1.0.3")
MODEL, CONFIG = (f"magika/models/standard_v3_3/{name}" for name in ("model.onnx", "config.min.json"))
DIGESTS = {
    MODEL: "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    CONFIG: "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
}
FILES = Path(__file__).with_name("magika_files.txt")
BLOCK, HALF, PADDING = 4096, 1024, 256  # bytes read at either end, bytes kept of them, the value for no byte
SEED, STEP = 7, 5


def build(folder: Path) -> None:
    """Write the entry's folder."""
    fetched = MAGIKA.files(DIGESTS)
    shutil.copyfile(fetched[MODEL], folder / "model.onnx")
    types: list[str] = json.loads(fetched[CONFIG].read_text(encoding="utf-8"))["target_labels_space"]
    items = typed_files()
    order = np.random.default_rng(SEED).permutation(len(items))
    x = np.stack([features(items[i][0].read_bytes()) for i in order])
    labels = np.full((len(items), 2), -1, np.int64)
    for row, i in zip(labels, order, strict=True):
        row[: len(items[i][1])] = [types.index(name) for name in items[i][1]]
    held = np.arange(len(items)) % STEP == 0
    write_npz(folder / "calibration.npz", {"bytes": x[held]})
    write_npz(folder / "evaluation.npz", {"bytes": x[~held], "labels": labels[~held]})
    write_recipe(folder, {"bytes": (1, 2 * HALF)}, "accuracy", int(held.sum()), {"bytes": (0, PADDING)})


def typed_files() -> list[tuple[Path, Sequence[str]]]:
    """Every file of the list with its accepted types.

    Raises:
        FetchError: A package cannot be had.
    """
    found: list[tuple[Path, Sequence[str]]] = []
    for package, digest, types in listed():
        paths = package.group(list(types), digest)
        found += [(paths[member], names) for member, names in types.items()]
    return found


def listed() -> list[tuple[Package, str, dict[str, Sequence[str]]]]:
    """The list: package, digest of its members, member -> accepted types."""
    groups: list[tuple[Package, str, dict[str, Sequence[str]]]] = []
    for line in FILES.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            names, member = line.split(maxsplit=1)
            groups[-1][2][member] = names.split("/")
        elif not line.startswith("#"):
            spec, digest = line.split()
            name, _, version = spec.partition("==")
            groups.append((Package("pypi", name, version), digest, {}))
    return groups


def features(content: bytes) -> NDArray[np.int32]:
    """A file as the model takes it: ``int32 [2048]``."""
    start, end = content[:BLOCK].lstrip(), content[-BLOCK:].rstrip()
    if len(content) <= BLOCK:
        start = end = content.strip()
    start, end = start[:HALF], end[-HALF:]
    row = np.full(2 * HALF, PADDING, np.int32)
    row[: len(start)] = np.frombuffer(start, np.uint8)
    row[len(row) - len(end) :] = np.frombuffer(end, np.uint8)
    return row


ENTRY = ZooEntry(
    name="magika",
    title="Magika file types",
    task="file type classification, 214 types",
    licence="Apache-2.0 (model); MIT, BSD, OFL-1.1, AGPL-3.0 (files)",
    source=", ".join([MAGIKA.spec, *(package.spec for package, _, _ in listed())]),
    build=build,
)
