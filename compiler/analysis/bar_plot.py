"""A bar for each node, as a picture."""

from __future__ import annotations

import math
from pathlib import Path

from tamis.compiler.analysis.finding import Bars
from tamis.compiler.analysis.roofline_plot import figure_class
from tamis.compiler.staging import staged_file

INCHES_A_BAR = 0.16
LARGEST = 120.0
"""Height of the picture, inches."""


def write_bars(bars: Bars, path: Path, title: str) -> None:
    """Write the picture.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError, WriteError: The path cannot be written.
    """
    shown = [(name, value) for name, value in bars.values.items() if math.isfinite(value)]
    height = min(2 + INCHES_A_BAR * len(shown), LARGEST)
    figure = figure_class()(figsize=(9, height), layout="constrained")
    axes = figure.add_subplot()
    for i, kind in enumerate(dict.fromkeys(bars.kinds[name] for name, _ in shown)):
        mine = [j for j, (name, _) in enumerate(shown) if bars.kinds[name] == kind]
        axes.barh(mine, [shown[j][1] for j in mine], color=f"C{i % 10}", label=kind)
    axes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=6)
    axes.invert_yaxis()
    axes.set(xlabel=bars.label, title=title)
    axes.grid(visible=True, axis="x", alpha=0.3)
    if shown:
        axes.legend(loc="best")
    with staged_file(path) as staged:
        figure.savefig(staged, format=path.suffix[1:])
