"""``make bench``: every benchmark of the repository, one after the other; figures go to stdout."""

from __future__ import annotations

import argparse

from benchmarks import separable, zoo_compile
from benchmarks.overhead import large_model, long_chain, recogniser

BENCHMARKS = {
    "recogniser": recogniser.main,
    "long-chain": long_chain.main,
    "large-model": large_model.main,
    "separable": separable.main,
    "zoo": zoo_compile.main,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which ones (default: all of {', '.join(BENCHMARKS)})")
    for name in parser.parse_args().names or BENCHMARKS:
        print(f"== {name}", flush=True)
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
