"""The roofline as a picture: MACs a second over MACs a byte, a dot a kernel, as large as its share of the time."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamis.compiler.analysis.analyse import Analysis
from tamis.compiler.analysis.roofline import Roofline
from tamis.compiler.analysis.rows import Row, by_kind
from tamis.compiler.errors import UsageError
from tamis.compiler.staging import staged_file

FORMATS = (".png", ".svg")
KINDS = 9
"""So many kinds have a colour of their own; the others share one."""
LARGEST_DOT = 2000.0
"""Area of a dot that stands for all of the time, square points."""


def check_plot(path: Path) -> None:
    """Refuse early what ``write_plot`` could not do.

    Raises:
        UsageError: The format is not known, or matplotlib is not installed.
    """
    if path.suffix not in FORMATS:
        raise UsageError("not a picture format", where=f"--plot {path}", expected=" or ".join(FORMATS))
    figure_class()


def write_plot(analysis: Analysis, path: Path, title: str) -> None:
    """Write the picture; kernels without MACs have no place in it and are left out.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError, WriteError: The path cannot be written.
    """
    assert analysis.roofline is not None
    figure = figure_class()(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    rows = [row for row in analysis.rows if row.cost.macs and row.intensity and row.rate]
    _draw_ceilings(axes, analysis.roofline, rows)
    whole = analysis.nanoseconds or 1.0
    kinds = [row.kind for row in by_kind(rows)]
    for i, kind in enumerate(kinds[:KINDS] + (["others"] if len(kinds) > KINDS else [])):
        mine = [row for row in rows if row.kind == kind or (kind == "others" and row.kind in kinds[KINDS:])]
        axes.scatter(
            [row.intensity for row in mine],
            [row.rate for row in mine],
            s=[max(4.0, LARGEST_DOT * (row.nanoseconds or 0.0) / whole) for row in mine],
            color=f"C{i}",
            alpha=0.6,
            label=kind,
        )
    axes.set(xscale="log", yscale="log", xlabel="MACs for each byte moved", ylabel="MACs a second", title=title)
    axes.grid(visible=True, which="major", alpha=0.3)
    for handle in axes.legend(loc="lower right").legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([40.0])
    with staged_file(path) as staged:
        figure.savefig(staged, format=path.suffix[1:])


def _draw_ceilings(axes: Any, roofline: Roofline, rows: Sequence[Row]) -> None:
    intensities = [row.intensity or 1.0 for row in rows] or [1.0]
    x = np.geomspace(min(*intensities, 0.1) / 2, max(*intensities, 100.0) * 2, 200)
    for i, (size, bandwidth) in enumerate(roofline.bandwidths):
        label = f"{bandwidth / 1e9:.0f} GB/s for up to {size / 1e6:.1f} MB"
        style = ("solid", "dashed", "dotted")[i % 3]
        axes.plot(x, np.minimum(roofline.peak, x * bandwidth), color="black", linewidth=1, linestyle=style, label=label)
    axes.annotate(f"{roofline.peak / 1e9:.0f} GMAC/s", (x[-1], roofline.peak), ha="right", va="bottom")


def figure_class() -> Any:
    """matplotlib's Figure.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise UsageError(
            "--plot needs matplotlib", found=str(error), fix="pip install 'tamis[report]', or leave --plot out"
        ) from error
