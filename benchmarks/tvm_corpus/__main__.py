"""``make bench-tvm-corpus``: what TVM's pre-check says of each form of each case, against what TVM does with it.

What is printed: how many forms are computed right, are refused beforehand, fail or come out wrong although the
pre-check says nothing, and which of those that it refuses would have been right. Exits with 1 if a form fails or comes
out wrong that the pre-check lets through.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.tvm_corpus.cases import load_forms
from benchmarks.tvm_corpus.forms import Form
from benchmarks.tvm_corpus.processes import Outcome, run
from benchmarks.tvm_corpus.verdicts import Result, Verdict, judge

SHOWN = 60
"""Lines that are printed of each list."""


def main() -> None:
    """Run all forms, or those whose names match."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tvm_corpus", description=__doc__)
    parser.add_argument("pattern", nargs="?", default="", help="regular expression in the names of forms")
    parser.add_argument("--save", type=Path, help="write what TVM did to this file")
    parser.add_argument("--load", type=Path, help="judge the pre-check by such a file, without TVM")
    arguments = parser.parse_args()
    start = time.perf_counter()
    forms = [form for form in load_forms() if re.search(arguments.pattern, form.name)]
    outcomes = _load(arguments.load) if arguments.load else run([form.name for form in forms])
    if arguments.save:
        arguments.save.write_text(json.dumps({name: list(outcome) for name, outcome in outcomes.items()}))
    results = [judge(form, outcomes[form.name]) for form in forms if form.name in outcomes]
    report(results, time.perf_counter() - start)
    sys.exit(any(result.verdict in (Verdict.FAILS, Verdict.WRONG) for result in results))


def report(results: Sequence[Result], seconds: float) -> None:
    """Print the table, then what it is made of."""
    kinds = ("as is", "folded", "other type", "older opset", "own")
    counts = collections.Counter((kind_of(result.form), result.verdict) for result in results)
    print(f"{len(results)} forms, {seconds:.0f} s")
    print(f"{'':42}" + "".join(f"{kind:>12}" for kind in kinds))
    for verdict in Verdict:
        print(f"  {verdict:40}" + "".join(f"{counts[kind, verdict]:12}" for kind in kinds))
    _by_reason(f"{Verdict.OVERCAUTIOUS}:", (r for r in results if r.verdict is Verdict.OVERCAUTIOUS))
    _by_reason(f"{Verdict.VALUES}:", (r for r in results if r.verdict is Verdict.VALUES))
    for result in results:
        if result.verdict in (Verdict.FAILS, Verdict.WRONG):
            print(f"{result.verdict}: {result.form.name}: {result.reason}")


def kind_of(form: Form) -> str:
    """Column of the table."""
    if form.case.name.startswith("own/"):
        return "own"
    if form.kind in ("as is", "folded"):
        return form.kind
    return "older opset" if form.kind.startswith("opset") else "other type"


def _by_reason(title: str, results: Iterable[Result]) -> None:
    named: dict[str, list[str]] = collections.defaultdict(list)
    for result in results:
        named[result.reason].append(result.form.name)
    print(title)
    ranked = sorted(named.items(), key=lambda item: (-len(item[1]), item[0]))
    for reason, found in ranked[:SHOWN]:
        print(f"  {len(found):5}  {reason} (e.g. {found[0]})")
    if len(ranked) > SHOWN:
        print(f"  {sum(len(found) for _, found in ranked[SHOWN:]):5}  for {len(ranked) - SHOWN} other reasons")


def _load(file: Path) -> Mapping[str, Outcome]:
    return {name: Outcome(*outcome) for name, outcome in json.loads(file.read_text()).items()}


if __name__ == "__main__":
    main()
