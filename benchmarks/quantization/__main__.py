"""``make bench-quantization``: every model of the zoo through every quantizer, judged side by side in one run.

Ratios are the time of the untouched float32 model under ``ORT_ENABLE_ALL`` over that of the quantized one, in pairs: above
1, the quantized one is faster. The metric is that of the test half of the labelled data, see ``split``; a drop is in
points (hundredths). "Would saturate": layers whose weights are not safe on x86 without VNNI, and how many of a million
pairs of products clip there on calibration samples, whatever this machine does. A quantizer that fails, or whose model does not run, stands in the table with its reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.quantization.methods import NAMES
from benchmarks.quantization.table import print_tables
from benchmarks.side_by_side.rows import Row, Rows, case_of
from benchmarks.zoo.entries import MODULES
from benchmarks.zoo.fetch import FetchError

CHILD = "benchmarks.quantization.child"


def main() -> None:
    """Run the comparison."""
    arguments = _parser().parse_args()
    rows: list[Row] = json.loads(arguments.json.read_text()) if arguments.resume and arguments.json.exists() else []
    maker = Rows(CHILD, arguments.seconds, arguments.timeout, arguments.lock)
    done = {(row["model"], row["method"]) for row in rows}
    for name in arguments.models:
        todo = [method for method in arguments.methods if (name, method) not in done]
        with tempfile.TemporaryDirectory() as scratch:
            try:
                case = case_of(name, Path(scratch), max_drop=arguments.max_drop, threads=arguments.threads)
            except FetchError as error:
                rows.append({"model": name, "method": "", "error": f"not there: {error}"})
                continue
            for method in todo:
                rows.append({"model": name, "method": method, **maker.row(case, Path(scratch) / "out", method=method)})
                print(json.dumps({k: v for k, v in rows[-1].items() if k not in ("kernels", "log")}), flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print_tables(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantization", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODULES), help="which ones (default: the zoo)")
    parser.add_argument(
        "--methods", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument("--threads", type=int, default=1, help="of the models that are timed")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, without loading")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for a stage of a quantizer")
    parser.add_argument("--max-drop", type=float, default=0.005, help="budget for quantizers that take one")
    parser.add_argument("--lock", type=Path, help="lock this file while timing, where others time on the same machine")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file of --json has")
    return parser


if __name__ == "__main__":
    main()
