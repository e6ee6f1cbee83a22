"""Part of a bundle's own loader: its files, the machine's features and golden outputs; needs NumPy only.

The text of this module is written into bundles, so it imports nothing of tamis. Exit statuses are those of tamis.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

MANIFEST = "bundle.json"
GOLDEN = "golden.npz"
CPU_FEATURES = Path("/proc/cpuinfo")
ARCHITECTURES = {"x86_64": "x86-64", "amd64": "x86-64", "arm64": "aarch64", "aarch64": "aarch64"}
STEP = ("name", "contract", "verdict")
MOST_CASES = 10_000
PORTABLE = ".onnx"
"""Suffix of models that run on any CPU; others hold code for the machine that they were compiled for."""


class LoaderError(Exception):
    """The bundle cannot be used; ``exit_code`` as tamis has it: 2 bundle or data, 3 results, 4 machine, 5 runtime."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the bundle in ``folder``.

    Raises:
        LoaderError: Not the folder of a bundle, or a later format.
    """
    if folder.is_file():
        raise LoaderError(f"{folder}: is a file; unpack the bundle and name its folder", 2)
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known = found["format"] == 1 and _is_whole(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise LoaderError(f"{folder}: {MANIFEST} cannot be read: {error!r}", 2) from error
    if not known:
        raise LoaderError(f"{folder}: {MANIFEST} is damaged, or of a format that this loader does not know", 2)
    return found


def _is_whole(manifest: dict[str, Any]) -> bool:
    """Whether what this module reads is there, and the model is one of the files that have a digest."""
    machine, golden, files = manifest["target"]["machine"], manifest["golden"], manifest["files"]
    texts = [manifest["target"]["runtime"], machine["name"], machine["arch"], *machine["isa"], *manifest["artifact"]]
    texts += [record["sha256"] for record in files.values()] + [s[k] for s in manifest["steps"] for k in STEP]
    return (
        all(isinstance(text, str) for text in texts)
        and {manifest["artifact"][0], *manifest["artifact"], GOLDEN} <= files.keys()
        and isinstance(golden["cases"], int)
        and 1 <= golden["cases"] <= MOST_CASES
        and all(isinstance(allowed, int | float) for allowed in golden["tolerances"].values())
        and isinstance(machine["int8"], dict)
    )


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every file with its digest in the manifest.

    Raises:
        LoaderError: A file is missing or changed.
    """
    for name, record in manifest["files"].items():
        if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
            raise LoaderError(f"{folder}: the manifest names a file outside the bundle: {name}", 2)
        try:
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise LoaderError(f"{folder}: the file {name} is missing; copy the bundle again ({error})", 2) from error
        if digest != record["sha256"]:
            expected, short = record["sha256"][:16], digest[:16]
            raise LoaderError(
                f"{folder}: the file {name} was changed or damaged; expected sha256 {expected}, found {short}; "
                "copy the bundle again",
                2,
            )


def check_machine(manifest: Mapping[str, Any]) -> list[str]:
    """What differs between this machine and the one that the bundle was built for, without harm to the results.

    Raises:
        LoaderError: The bundle cannot run here, or its 8-bit products would come out otherwise.
    """
    built = manifest["target"]["machine"]
    name = platform.machine().lower()
    here = ARCHITECTURES.get(name, name)
    portable = manifest["artifact"][0].endswith(PORTABLE)
    if here != built["arch"] and not portable:
        raise LoaderError(f"the bundle was compiled for {built['arch']}, this machine is {here}", 4)
    features = cpu_features()
    if not features:
        return ["the features of this CPU cannot be read here; only results are checked"]
    warnings = []
    if missing := sorted(set(built["isa"]) - features):
        if not portable:
            raise LoaderError(
                f"this machine lacks {', '.join(missing)} of {built['name']}; compile for this machine", 4
            )
        warnings.append(f"this machine lacks {', '.join(missing)}: expect other run times")
    lossy = [s["name"] for s in manifest["steps"] if s["contract"] == "lossy" and s["verdict"] == "kept"]
    if lossy and (units := int8_units(features)) != built["int8"]:
        warnings.append(
            f"{', '.join(lossy)} was for 8-bit units {built['int8']}, this machine has {units}: "
            "the golden outputs are the judge; 'tamis verify' looks at the weights too"
        )
    return warnings


def cpu_features() -> set[str]:
    """Features of the CPU as Linux names them; empty where they cannot be read."""
    try:
        lines = CPU_FEATURES.read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    pairs = (line.partition(":") for line in lines)
    found = {word for key, _, value in pairs if key.strip() in ("flags", "Features") for word in value.split()}
    return found | ({"avx512_vnni"} if "avx512vnni" in found else set())


def int8_units(features: set[str]) -> dict[str, Any]:
    """What ONNX Runtime's 8-bit kernels do with such features, as the manifest says it."""
    if features & {"avx512_vnni", "avx_vnni"}:
        return {"pair": "u8s8", "saturates": False}
    if "ssse3" in features:
        return {"pair": "u8s8", "saturates": True}
    return {"pair": "s8s8", "saturates": False}


def golden_cases(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Number, inputs and expected outputs of each golden case.

    Raises:
        LoaderError: The file cannot be read.
    """
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {}) for _ in range(manifest["golden"]["cases"])]
    try:
        with np.load(folder / GOLDEN, allow_pickle=False) as arrays:
            for key in arrays.files:
                case, side, name = key.split("/", 2)
                cases[int(case)][side == "out"][name] = arrays[key]
    except (OSError, ValueError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise LoaderError(f"{folder}: {GOLDEN} cannot be read: {error}", 2) from error
    for i, (feeds, expected) in enumerate(cases):
        yield i, feeds, expected


def golden_error(want: Any, got: Any) -> float:
    """max |want - got| / max |want|; NaN if dtypes, shapes, texts, or the places of NaN and infinity differ."""
    if want.dtype.kind == "U" and got is not None and got.dtype.kind in "OU":  # runtimes give texts as objects
        return 0.0 if np.array_equal(want, got.astype(str)) else float("nan")
    if got is None or want.dtype != got.dtype or want.shape != got.shape:
        return float("nan")
    if want.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(want, got) else float("nan")
    finite = np.ones(want.shape, bool)
    if want.dtype.kind == "f":
        if any((test(want) != test(got)).any() for test in (np.isnan, np.isposinf, np.isneginf)):
            return float("nan")
        finite = np.isfinite(want)
    a, b = want[finite].astype(np.float64), got[finite].astype(np.float64)
    worst, scale = float(np.abs(a - b).max(initial=0.0)), float(np.abs(a).max(initial=0.0))
    return worst / scale if scale else (0.0 if worst == 0 else float("inf"))
