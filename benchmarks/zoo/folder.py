"""The folder of an entry: written once, stamped with the digests of its files, reused while they hold."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.entry import ZooEntry
from benchmarks.zoo.fetch import cache_root, sha256

STAMP = "zoo.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def folder_of(entry: ZooEntry) -> Path:
    """Where the entry lies, whether it was built or not."""
    return cache_root() / entry.name


def is_built(entry: ZooEntry) -> bool:
    """Whether the folder is there, of this version of the entry, with every file as it was written."""
    folder = folder_of(entry)
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    files: dict[str, str] = stamp.get("files", {})
    return stamp.get("version") == entry.version and all(
        (folder / name).is_file() and sha256(folder / name) == digest for name, digest in files.items()
    )


def build(entry: ZooEntry) -> Path:
    """The entry's folder, built first if need be; it appears whole or not at all.

    Raises:
        FetchError: A package file cannot be had.
    """
    folder = folder_of(entry)
    if is_built(entry):
        return folder
    cache_root().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=cache_root()))
    try:
        entry.build(work)
        files = {p.relative_to(work).as_posix(): sha256(p) for p in sorted(work.rglob("*")) if p.is_file()}
        stamp = {"name": entry.name, "version": entry.version, "files": files}
        (work / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """A compressed .npz whose bytes depend on the arrays alone: sorted names, a fixed time stamp."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(arrays):
            info = zipfile.ZipInfo(f"{name}.npy", date_time=EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)


def write_recipe(
    folder: Path,
    inputs: Mapping[str, tuple[int | str, ...]],
    metric: str,
    calibration_samples: int,
    ranges: Mapping[str, tuple[int, int]] | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """``recipe.yaml``: lossless passes on the fixed shapes, with both data sets and the metric.

    Args:
        folder: The entry's folder.
        inputs: Graph input -> shape of one sample, batch included; a name leaves that size open.
        metric: Name of the task metric.
        calibration_samples: Number of calibration samples that the recipe uses.
        ranges: Graph input -> smallest and largest legal value, for indices.
        sizes: Name of an open size -> smallest and largest value.
    """
    lines = ["version: 1", "extends: lossless", "model: model.onnx", "inputs:"]
    for name, shape in inputs.items():
        limits = f", range: {list(ranges[name])}" if ranges and name in ranges else ""
        limits += "".join(f", {open_}: {list((sizes or {})[open_])}" for open_ in shape if isinstance(open_, str))
        key = f'"{name}"' if ":" in name else name
        lines.append(f"  {key}: {{shape: [{', '.join(map(str, shape))}]{limits}}}")
    lines += [
        "data:",
        f"  calibration: {{npz: calibration.npz, samples: {calibration_samples}}}",
        f"  evaluation: {{npz: evaluation.npz, metric: {metric}}}",
    ]
    (folder / "recipe.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
