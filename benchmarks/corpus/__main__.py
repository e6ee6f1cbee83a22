"""``make bench-corpus``: every case of ONNX's backend test suite through ``lossless`` and ONNX Runtime.

Each case is taken as it is, with all inputs but the first as constants, and with all of them as constants. What is
printed: how many ran and matched, and what could not be run, by reason. Exits with 1 on a mismatch or a crash.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import time
from collections.abc import Iterable, Sequence

from benchmarks.corpus.cases import load_cases
from benchmarks.corpus.judge import FAILED, Outcome, Result
from benchmarks.corpus.processes import run

SHOWN = 40
"""Reasons that are printed of each list."""


def main() -> None:
    """Run all cases, or those whose names match."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("pattern", nargs="?", default="", help="regular expression in the names of cases")
    parser.add_argument("--list", action="store_true", help="print a line for every case that did not match")
    arguments = parser.parse_args()
    start = time.perf_counter()
    names = [case.name for case in load_cases() if re.search(arguments.pattern, case.name)]
    results = run(names)
    if arguments.list:
        for result in results:
            if result.outcome is not Outcome.MATCHED:
                print(f"{result.name}: {result.outcome}: {result.reason}")
    report(results, len(names), time.perf_counter() - start)
    sys.exit(any(result.outcome in FAILED for result in results))


def report(results: Sequence[Result], cases: int, seconds: float) -> None:
    """Print the summary."""
    outcomes = collections.Counter(result.outcome for result in results)
    changed = collections.Counter(step for result in results for step in result.changed_by)
    print(f"{cases} cases in {len(results)} forms, {seconds:.0f} s")
    for outcome in Outcome:
        print(f"  {outcomes[outcome]:5}  {outcome}")
    print("changed by: " + ", ".join(f"{step} {count}" for step, count in changed.most_common()))
    _reasons([result for result in results if result.outcome is Outcome.NOT_RUN])
    for outcome in (Outcome.AS_ORIGINAL, Outcome.RANDOM, Outcome.ILLEGAL):
        names = sorted({result.name.partition(" ")[0] for result in results if result.outcome is outcome})
        if names:
            print(f"{outcome}: {', '.join(names)}")
    for result in results:
        if result.outcome in FAILED:
            print(f"{result.outcome} {result.name}: {result.reason}")


def _reasons(results: Iterable[Result]) -> None:
    """What ONNX Runtime cannot run, by reason."""
    named: dict[str, list[str]] = collections.defaultdict(list)
    for result in results:
        named[result.reason].append(result.name)
    print(f"{Outcome.NOT_RUN}:")
    ranked = sorted(named.items(), key=lambda item: (-len(item[1]), item[0]))
    for reason, found in ranked[:SHOWN]:
        print(f"  {len(found):5}  {reason} (e.g. {found[0]})")
    rest = sum(len(found) for _, found in ranked[SHOWN:])
    if rest:
        print(f"  {rest:5}  of {len(ranked) - SHOWN} other reasons; --list names them all")


if __name__ == "__main__":
    main()
