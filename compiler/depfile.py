"""What build systems want to know of a compile: a depfile, and the manifest as a file that changes only with its content."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tamis.compiler.bundle import MANIFEST, Bundle
from tamis.compiler.errors import UsageError
from tamis.compiler.staging import staged_file


def targets_of(out: Path, bundles: Sequence[Bundle]) -> list[str]:
    """The files that stand for an output in a depfile, as the caller spelled ``out``: each ``bundle.json``, or the zip file."""
    if out.is_file():
        return [str(out)]
    places = [os.path.relpath(bundle.path, out.absolute()) for bundle in bundles]
    return [os.path.normpath(out / place / MANIFEST) for place in places]


def write_depfile(path: Path, targets: Iterable[str], files: Iterable[Path]) -> None:
    """One rule in the syntax that Make and Ninja read: targets, a colon, and what they depend on, in absolute paths.

    Raises:
        OutputError, WriteError: The file cannot be written.
    """
    sources = sorted({str(file.absolute()) for file in files})
    rule = f"{' '.join(map(escaped, targets))}:" + "".join(f" \\\n  {escaped(source)}" for source in sources) + "\n"
    phony = "".join(f"\n{escaped(source)}:\n" for source in sources)
    _write(path, rule + phony)


def escaped(path: str) -> str:
    """A path as Make and Ninja read it in a depfile.

    Raises:
        UsageError: It has a line break, which neither can read.
    """
    if "\n" in path or "\r" in path:
        raise UsageError("a path with a line break cannot stand in a depfile", found=repr(path), fix="rename it")
    return path.replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ")


def write_manifest(path: Path, bundles: Sequence[Bundle]) -> None:
    """The manifest of a bundle, or the list of several, written only if it says something new.

    Raises:
        OutputError, WriteError: The file cannot be written.
    """
    data = [json.loads(bundle.report.to_json()) for bundle in bundles]
    text = json.dumps(data[0] if len(data) == 1 else data, indent=2, sort_keys=True) + "\n"
    if not (path.is_file() and path.read_text(encoding="utf-8") == text):
        _write(path, text)


def _write(path: Path, text: str) -> None:
    with staged_file(path) as staging:
        staging.write_text(text, encoding="utf-8")
