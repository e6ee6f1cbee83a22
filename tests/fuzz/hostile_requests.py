"""OCI layouts and requests to a server that are made to do harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.lay_out import CORPUS, HUGE, LONG, Maker, fifo, write


def oci(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    """A manifest of an OCI layout whose first layer is ``bundle.json``."""
    data = json.loads((CORPUS / "oci" / "valid" / "manifest.json").read_text())
    change(data)
    (folder / "manifest.json").write_text(json.dumps(data))


def titled(name: str) -> Maker:
    return partial(oci, lambda m: m["layers"][0].update(annotations={"org.opencontainers.image.title": name}))


def blob_pipe(folder: Path) -> None:
    oci(lambda m: fifo(m["layers"][0]["digest"].replace(":", "/"), folder / "layout" / "blobs"), folder)


def request(data: object, shape: object, folder: Path) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": shape, "data": data}
    (folder / "request.json").write_text(json.dumps({"inputs": [tensor]}))


def _nested_lists(depth: int) -> list[Any]:
    found: list[Any] = [1]
    for _ in range(depth):
        found = [found]
    return found


REQUESTS: Mapping[str, Mapping[str, Maker]] = {
    "oci": {
        "above": titled("../evil"),
        "absolute": titled("/tmp/tamis-was-here"),
        "long name": titled(LONG),
        "the folder": titled("."),
        "huge": partial(oci, lambda m: m["layers"][0].update(size=HUGE)),
        "many": partial(oci, lambda m: m.update(layers=m["layers"] * 5000)),
        "digest elsewhere": partial(oci, lambda m: m["layers"][0].update(digest="sha256:../../../../secret")),
        "pipe": blob_pipe,
    },
    "layout": {"pipe": partial(fifo, "layout.tar")},
    "request": {
        "deep": partial(write, "request.json", b'{"inputs": ' + b"[" * 100_000),
        "deep data": lambda folder: request(_nested_lists(900), [1], folder),
        "a long text": partial(request, ["x" * 30_000, *["a"] * 30_000], [30_001]),
        "many dimensions": partial(request, [1], [1] * 70),
        "no elements of many": partial(request, [], [2**31 - 1] * 4 + [0]),
        "long number": partial(write, "request.json", b'{"inputs": [' + b"9" * 1_000_000 + b"]}"),
    },
}
"""As ``HOSTILE``."""
