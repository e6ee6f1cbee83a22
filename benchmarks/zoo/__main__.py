"""``python -m benchmarks.zoo``: list, fetch, find and score the models of the zoo."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.fetch import FetchError
from benchmarks.zoo.folder import build, folder_of, is_built


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 1 when something could not be fetched, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            _list()
        elif options.command == "fetch":
            return max([_fetch(name) for name in (MODULES if options.all else options.names)])
        elif options.command == "path":
            print(folder_of(entry(options.name)))
        else:
            _score(options.name, options.model)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name, task and source of every entry")
    fetch = commands.add_parser("fetch", help="build the folders of entries, unless they are there")
    what = fetch.add_mutually_exclusive_group(required=True)
    what.add_argument("names", nargs="*", metavar="NAME", default=[], type=_known)
    what.add_argument("--all", action="store_true", help="every entry")
    path = commands.add_parser("path", help="print the folder of an entry")
    path.add_argument("name", metavar="NAME", type=_known)
    score = commands.add_parser("score", help="task metric of an entry's model, or of another model file")
    score.add_argument("name", metavar="NAME", type=_known)
    score.add_argument("model", metavar="MODEL.onnx", nargs="?", type=Path)
    return parser


def _known(name: str) -> str:
    if name not in MODULES:
        raise argparse.ArgumentTypeError(f"no entry {name!r}; there are {', '.join(MODULES)}")
    return name


def _list() -> None:
    for name in MODULES:
        found = entry(name)
        print(f"{name:20} {'built' if is_built(found) else '-':6} {found.task:32} {found.source}")


def _fetch(name: str) -> int:
    """Build one entry; a failure is printed and does not keep the next ones from being built."""
    found, start = entry(name), time.perf_counter()
    if is_built(found):
        print(f"{name}: in place at {folder_of(found)}")
        return 0
    print(f"{name}: fetching {found.source}", flush=True)
    try:
        folder = build(found)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    print(f"{name}: {size:.1f} MB at {folder} ({time.perf_counter() - start:.1f} s)")
    return 0


def _score(name: str, model: Path | None) -> None:
    from benchmarks.zoo.score import score

    found = entry(name)
    folder = build(found)
    for metric, value in score(found, folder, model or folder / "model.onnx").items():
        print(f"{name}: {metric} {value:.4f}")


if __name__ == "__main__":
    sys.exit(main())
