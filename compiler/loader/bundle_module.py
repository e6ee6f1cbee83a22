"""Part of a bundle's own loader: load, verify and dump, and the command line; needs NumPy only.

The text of this module is written into bundles after that of ``bundle_files``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tamis.compiler.loader.bundle_files import (
    LoaderError,
    check_files,
    check_machine,
    golden_cases,
    golden_error,
    read_manifest,
)

INDEX = "bundle.txt"


class BundleModel(Protocol):
    """A lowered model, as a runtime opens it."""

    inputs: tuple[tuple[str, str | None, tuple[int | str | None, ...]], ...]
    """Name, NumPy's name of the dtype (``string`` for texts, None if any will do) and shape of each input."""
    outputs: tuple[str, ...]

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run once. Whatever the runtime raises is let through."""
        ...


OpenModel = Callable[[str], BundleModel]


class LoadedBundle:
    """Call it with a dict of arrays, get a dict of arrays.

    Args:
        folder: The bundle.
        open_model: Opens the file of the lowered model.
        check: Compare all files with their digests first.

    Raises:
        LoaderError: The bundle is damaged, not for this machine, or its runtime is not installed.
    """

    def __init__(self, folder: Path, open_model: OpenModel, check: bool = True) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        if check:
            check_files(folder, self.manifest)
        self.warnings = check_machine(self.manifest)
        runtime = self.manifest["target"]["runtime"]
        try:
            self._model = open_model(str(folder / self.manifest["artifact"][0]))
        except ImportError as error:
            raise LoaderError(f"runtime {runtime} is not installed: {error}", 4) from error
        except Exception as error:  # classes of runtimes derive from Exception directly
            raise LoaderError(f"{folder}: {runtime} cannot load the model: {error}", 5) from error
        self.input_names = tuple(name for name, _, _ in self._model.inputs)
        self.output_names = self._model.outputs

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run once.

        Raises:
            LoaderError: An input is missing, unknown, or of the wrong dtype or shape; or the runtime failed.
        """
        self._check_feeds(feeds)
        try:
            return self._model(feeds)
        except Exception as error:  # classes of runtimes derive from Exception directly
            raise LoaderError(f"the runtime failed: {error}", 5) from error

    def _check_feeds(self, feeds: Mapping[str, Any]) -> None:
        names = ", ".join(self.input_names) or "none"
        for name in feeds:
            if name not in self.input_names:
                raise LoaderError(f"the model has no input {name!r}; expected {names}", 2)
        for name, dtype, shape in self._model.inputs:
            if name not in feeds:
                raise LoaderError(f"no array for input {name!r}; expected {names}", 2)
            array = feeds[name]
            if not isinstance(array, np.ndarray):
                raise LoaderError(f"input {name!r}: expected numpy.ndarray, found {type(array).__name__}", 2)
            fits = array.dtype.kind in "UOS" if dtype == "string" else dtype is None or array.dtype == np.dtype(dtype)
            if not fits:
                raise LoaderError(f"input {name!r}: wrong element type; expected {dtype}, found {array.dtype}", 2)
            if shape and not _shape_fits(array.shape, shape):
                wanted = "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
                raise LoaderError(f"input {name!r}: wrong shape; expected {wanted}, found {list(array.shape)}", 2)

    def verify(self) -> list[dict[str, Any]]:
        """Run the golden cases; a row an output with its error and tolerance.

        Raises:
            LoaderError: An output is further off than the manifest allows.
        """
        tolerances = self.manifest["golden"]["tolerances"]
        rows = []
        for case, feeds, expected in golden_cases(self.folder, self.manifest):
            got = self(feeds)
            for name, want in expected.items():
                error = golden_error(want, got.get(name))
                rows.append({"case": case, "output": name, "error": error, "tolerance": tolerances.get(name, 0.0)})
        if bad := [r for r in rows if not r["error"] <= r["tolerance"]]:
            first = bad[0]
            raise LoaderError(
                f"{self.folder}: {len(bad)} of {len(rows)} golden outputs are not reproduced on this machine; "
                f"expected output {first['output']} of case {first['case']} within {first['tolerance']:.3g} (relative), "
                f"found {first['error']:.3g}; compile the recipe for this machine",
                3,
            )
        return rows


def _shape_fits(shape: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size == want for size, want in zip(shape, wanted, strict=True) if isinstance(want, int)
    )


def dump_golden(folder: Path, out: Path, settings: Sequence[str]) -> None:
    """Write the golden arrays as raw files, with a text that any language can read, to a new folder.

    ``bundle.txt`` has a line for the model, for each setting and for each array: ``in CASE DTYPE RANK SIZE... FILE NAME``
    and ``out CASE TOLERANCE DTYPE RANK SIZE... FILE NAME``. Files hold elements in C order and this machine's byte order.

    Raises:
        LoaderError: The bundle is damaged, or ``out`` is there already or cannot be written.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if out.exists():
        raise LoaderError(f"{out}: exists already; name a new folder", 2)
    lines = [f"model {(folder / manifest['artifact'][0]).absolute()}", *settings]
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    except OSError as error:
        raise LoaderError(f"{out}: cannot be written: {error.strerror}; name another folder", 2) from error
    try:
        for case, feeds, expected in golden_cases(folder, manifest):
            for side, arrays in (("in", feeds), ("out", expected)):
                for i, (name, array) in enumerate(arrays.items()):
                    file = f"{case}-{side}-{i}.bin"
                    (staging / file).write_bytes(np.ascontiguousarray(array).tobytes())
                    allowed = [f"{manifest['golden']['tolerances'].get(name, 0.0):.9g}"] if side == "out" else []
                    sizes = [str(size) for size in array.shape]
                    words = [side, str(case), *allowed, array.dtype.name, str(array.ndim), *sizes, file, name]
                    lines.append(" ".join(words))
        (staging / INDEX).write_text("\n".join(lines) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        staging.rename(out)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            raise LoaderError(f"{out}: cannot be written: {error.strerror}; name another folder", 2) from error
        raise


def main(arguments: Sequence[str], home: Path, open_model: OpenModel, settings: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="tamis_bundle.py",
        description="Check the bundle in this module's folder.",
        epilog="Exit status: 0 ok, 2 usage or damaged bundle, 3 results differ, 4 machine or runtime, 5 failure.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--verify", action="store_true", help="check digests, machine features and golden outputs")
    what.add_argument("--dump-golden", metavar="FOLDER", help="write the golden arrays as raw files")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.dump_golden is not None:
            dump_golden(home, Path(chosen.dump_golden), settings)
            return 0
        bundle = LoadedBundle(home, open_model)
        report = {"bundle": str(home), "golden": bundle.verify(), "warnings": bundle.warnings, "ok": True}
    except LoaderError as error:
        if chosen.json:
            sys.stdout.write(json.dumps({"ok": False, "message": str(error), "exit_code": error.exit_code}) + "\n")
        else:
            sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(report, indent=1) + "\n" if chosen.json else _text(bundle, report["golden"]))
    return 0


def _text(bundle: LoadedBundle, rows: Any) -> str:
    worst = max((r["error"] for r in rows), default=0.0)
    found = f"{len(bundle.manifest['files'])} digests match; {len(rows)} golden outputs, largest error {worst:.2g}\n"
    return found + "".join(f"warning: {line}\n" for line in bundle.warnings)
