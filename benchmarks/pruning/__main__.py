"""``make bench-pruning``: pruning without training, to goals of latency, beside simpler ways and onnxsim's pruners.

*Latency* is the time over that of the same form of the model with nothing pruned (ours: the lossless steps; onnxsim's: its
simplification), in pairs over several loads, with a 95 % interval; *predicted* is what the table of latencies says of it.
*Times faster* refers to the untouched model under ``ORT_ENABLE_ALL``. MACs are over those with nothing pruned, size over
that of the file as given. The metric is that of the test half of the labelled data, see ``side_by_side/split``, which no
method sees; a drop is in points (hundredths). A method that fails stands in the table with its reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.pruning.methods import NAMES, refers_to
from benchmarks.pruning.table import print_tables
from benchmarks.side_by_side.case import Case
from benchmarks.side_by_side.rows import Row, Rows, case_of
from benchmarks.zoo.fetch import FetchError

CHILD = "benchmarks.pruning.child"
MODELS = ("mnist-cnn", "efficientnet-lite0", "ppocr-cls", "ppocr-rec", "ppocr-det", "crepe-tiny", "minilm")
GOALS = (0.8, 0.7, 0.5)
METHODS = ("tamis", "tamis-uncompensated", "uniform-l2", "random", "onnxsim-l2", "onnxsim-wanda", "tamis-int8")


def main() -> None:
    """Run the comparison."""
    arguments = _parser().parse_args()
    rows: list[Row] = json.loads(arguments.json.read_text()) if arguments.resume and arguments.json.exists() else []
    done = {(row["model"], row.get("goal"), row["method"]) for row in rows}
    for name in arguments.models:
        todo = [
            (goal, method)
            for goal in arguments.goals
            for method in arguments.methods
            if (name, goal, method) not in done
        ]
        with tempfile.TemporaryDirectory() as scratch:
            try:
                case = case_of(name, Path(scratch), max_drop=1.0, threads=arguments.threads)
            except FetchError as error:
                rows.append({"model": name, "method": "", "error": f"not there: {error}"})
                continue
            bench = _Bench(case, Path(scratch), arguments)
            for goal, method in todo:
                rows.append({"model": name, "goal": goal, "method": method, **bench.row(goal, method)})
                print(json.dumps({k: v for k, v in rows[-1].items() if k != "log"}), flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print_tables(rows)


class _Bench:
    """Methods on one model; what their ratios refer to is made once."""

    def __init__(self, case: Case, scratch: Path, arguments: argparse.Namespace) -> None:
        self.case, self.scratch = case, scratch
        self.rows = Rows(CHILD, arguments.seconds, arguments.timeout, arguments.lock, makers_time=True)
        self.wholes: dict[str, Row] = {}

    def row(self, goal: float, method: str) -> Row:
        """The row of a method; of what it refers to only if that fails."""
        whole = refers_to(method)
        if whole not in self.wholes:
            self.wholes[whole] = self.rows.make(self.case, self.scratch / whole, method=whole, goal=1.0)
        if "error" in self.wholes[whole]:
            return {"error": f"{whole}: {self.wholes[whole]['error']}"}
        return self.rows.row(self.case, self.scratch / "out", method=method, goal=goal, whole=self.wholes[whole])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), help="which ones (default: trained ones)")
    parser.add_argument("--goals", nargs="+", type=_goal, default=list(GOALS), help="ratios of latency")
    parser.add_argument(
        "--methods", nargs="+", choices=NAMES, default=list(METHODS), metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument("--threads", type=int, default=1, help="of the models that are timed")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, without loading")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds for a stage of a method")
    parser.add_argument("--lock", type=Path, help="lock this file while timing, where others time on the same machine")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file of --json has")
    return parser


def _goal(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"a ratio of latency between 0 and 1, not {text}")
    return value


if __name__ == "__main__":
    main()
