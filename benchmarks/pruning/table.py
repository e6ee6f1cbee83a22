"""The rows of the benchmark as tables, one a model."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.side_by_side.rows import Row
from tamis.compiler.cli.output import table

COLUMNS = (
    "goal",
    "method",
    "latency",
    "predicted",
    "times faster",
    "MACs",
    "size",
    "metric",
    "drop",
    "made in",
    "notes",
)
NEAR = 0.1


def print_tables(rows: Sequence[Row]) -> None:
    """One table a model, in the order in which they came, then how good the predictions were."""
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        known = next((row for row in mine if "metric" in row), None)
        title = f"{model}: {known['metric']} {100 * known['before']:.2f} as given" if known else model
        table(COLUMNS, [_line(row) for row in mine], title=title)
    print(predictions(rows))


def predictions(rows: Sequence[Row]) -> str:
    """How many predicted ratios of latency are near those that were measured: of the results, and of all on the way."""
    results = [
        (row["decided"]["predicted"], 1 / row["against_whole"]["speedup"])
        for row in rows
        if "error" not in row and row["decided"]
    ]
    tried = [pair for row in rows for pair in row.get("decided", {}).get("predictions", ())]
    near = [sum(abs(predicted / measured - 1) <= NEAR for predicted, measured in part) for part in (results, tried)]
    return (
        f"predicted within {100 * NEAR:.0f} % of the measured: {near[0]} of {len(results)} results, {near[1]} of "
        f"{len(tried)} allocations on the way"
    )


def _line(row: Row) -> tuple[str, ...]:
    notes = "; ".join([*([row["error"]] if "error" in row else []), *row.get("notes", [])])
    made = f"{row['made_seconds']:.0f} s, {row['peak_mb']:.0f} MB" if "made_seconds" in row else ""
    first = (f"{row['goal']:.2f}" if "goal" in row else "", row["method"])
    if "error" in row:
        return (*first, "failed", "", "", "", "", "", "", made, notes)
    against, given, predicted = row["against_whole"], row["latency"], row["decided"].get("predicted")
    return (
        *first,
        f"{1 / against['speedup']:.2f} ({1 / against['high']:.2f} to {1 / against['low']:.2f})",
        "" if predicted is None else f"{predicted:.2f}",
        f"{given['speedup']:.2f} ({given['low']:.2f} to {given['high']:.2f})",
        f"{row['macs'] / row['whole_macs']:.2f}" if row["macs"] and row["whole_macs"] else "?",
        f"{row['size']:.2f}",
        f"{100 * row['after']:.2f}",
        f"{100 * row['drop']:+.2f}",
        made,
        notes,
    )
