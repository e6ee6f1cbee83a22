"""``make fuzz``: minutes of changed files through every reader, with another seed each time.

A case that ends badly is kept: put its folder into ``tests/fuzz/corpus/<reader>/``, under a name that says what it is.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.fuzz.batch import run
from tests.fuzz.readers import READERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", default=list(READERS), metavar="READER", help=", ".join(READERS))
    parser.add_argument("--minutes", type=float, default=10.0, help="for all of them together")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="of the changes")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tamis-fuzz-"))
    bad = 0
    for name in chosen.readers:
        found = run(name, folder / name, chosen.seed, 60 * chosen.minutes / len(chosen.readers))
        end = f"{found.case}: {found.problem}; see {folder / name / 'work'}" if found.problem else "nothing found"
        sys.stdout.write(f"{name:10} {found.cases:7} cases, {found.accepted:6} accepted, seed {chosen.seed}: {end}\n")
        sys.stdout.flush()
        bad += found.problem is not None
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
