"""A small bundle on disk, written without a compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tamis.compiler.bundle import GOLDEN, MANIFEST, MEASUREMENTS, file_record
from tamis.compiler.link import HERE
from tamis.compiler.machine import find_machine
from tamis.compiler.manifest import AccuracyRecord, GoldenRecord, InputRecord, Manifest, TargetRecord
from tamis.compiler.model_file import save_model
from tests.models import model

GRAPH = "g (float[N, 4] x, int64[N] k) => (float[N, 4] y, float z) { y = Relu(x)  z = ReduceSum<keepdims = 0>(y) }"
SETTINGS = {"threads": 2, "graph_optimization": "extended", "spinning": "never"}


def write_bundle(
    folder: Path,
    graph: str = GRAPH,
    *,
    dims: dict[str, tuple[int, int]] | None = None,
    settings: dict[str, Any] | None = None,
    artifact: str = "model.onnx",
) -> Path:
    """Write a bundle whose golden file is not one; returns ``folder``."""
    folder.mkdir(parents=True)
    save_model(model(graph), folder / artifact)
    (folder / GOLDEN).write_bytes(b"golden")
    (folder / MEASUREMENTS).write_text("{}")
    machine = find_machine("x86-64-avx2")
    target = TargetRecord(
        name=machine.name, machine=machine, runtime="onnxruntime", options={}, settings=settings or SETTINGS,
        fingerprint={"runtime": "onnxruntime", "onnxruntime": "1.30.0", "threads": "2"}, link=HERE, executed=True,
    )  # fmt: skip
    manifest = Manifest(
        tamis="0.1.0",
        model="some model.onnx",
        source={"some model.onnx": "a" * 64, "weights": "b" * 64, "data.npz": "c" * 64},
        recipe={},
        target=target,
        inputs={"x": InputRecord(dtype="float32", shape=("N", 4))},
        dims=dims or {},
        outputs=("y", "z"),
        steps=(),
        drift=1e-7,
        sqnr_db=None,
        accuracy=AccuracyRecord(metric="accuracy", samples=8, before=0.9, after=0.875, drop=0.025),
        golden=GoldenRecord(cases=1, tolerances={}),
        artifact=(artifact,),
        files={name: file_record(folder / name) for name in (artifact, GOLDEN)},
        versions={"numpy": "2.4.6", "onnxruntime": "1.30.0", "python": "3.12.1"},
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder
