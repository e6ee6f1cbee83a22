"""The rows of the benchmark as tables, one a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tamis.compiler.cli.output import table

COLUMNS = (
    "quantizer",
    "metric",
    "drop",
    "size",
    "times faster",
    "integer kernels",
    "would saturate",
    "made in",
    "notes",
)
Row = dict[str, Any]


def print_tables(rows: Sequence[Row]) -> None:
    """One table a model, in the order in which they came."""
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        known = next((row for row in mine if "metric" in row), None)
        title = f"{model}: {known['metric']} {100 * known['before']:.2f} in float32" if known else model
        table(COLUMNS, [_line(row) for row in mine], title=title)


def _line(row: Row) -> tuple[str, ...]:
    notes = "; ".join([*([row["error"]] if "error" in row else []), *row.get("notes", [])])
    made = f"{row['made_seconds']:.0f} s, {row['peak_mb']:.0f} MB" if "made_seconds" in row else ""
    if "error" in row:
        return (row["method"], "failed", "", "", "", "", "", made, notes)
    ratio, kernels = row["latency"], row["kernels"]
    left = f", {kernels['dequantized']} on dequantized" if kernels["dequantized"] else ""
    return (
        row["method"],
        f"{100 * row['after']:.2f}",
        f"{100 * row['drop']:+.2f}",
        f"{row['size']:.2f}",
        f"{ratio['speedup']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        f"{kernels['integer']} of {kernels['computing']}{left}",
        _saturation(row.get("saturation")),
        made,
        notes,
    )


def _saturation(counts: Row | None) -> str:
    """Layers with weights that are not pair-safe, and the share of all pairs of products that clipped."""
    if not counts or not counts["layers"]:
        return ""
    share = 1e6 * counts["saturated"] / max(counts["pairs"], 1)
    return f"{counts['unsafe_layers']} of {counts['layers']} layers, {share:.2g} ppm"
