"""The table of methods: name -> how it prunes, and what it is compared with where nothing is pruned."""

from __future__ import annotations

from functools import partial

from benchmarks.pruning.onnxsim_pruners import by_magnitude, by_wanda, searched, simplified
from benchmarks.pruning.tamis_recipes import int8, pruned, whole
from benchmarks.side_by_side.candidate import Maker

TAMIS = "whole-tamis"
ONNXSIM = "whole-onnxsim"
WHOLE: dict[str, Maker] = {TAMIS: whole, ONNXSIM: simplified}
"""Nothing is pruned: what a ratio of latencies refers to."""

OPTIONS: dict[str, dict[str, str]] = {
    "tamis": {},
    "tamis-uncompensated": {"compensation": "none"},
    "tamis-data-free": {"importance": "l2", "compensation": "merge"},
    "uniform-l2": {"importance": "l2", "allocation": "uniform", "compensation": "none"},
    "uniform-l2-refit": {"importance": "l2", "allocation": "uniform"},
    "random": {"importance": "random", "allocation": "uniform", "compensation": "none"},
}
"""Options of ``prune-channels``, besides the goal."""
NAMES = (*OPTIONS, "tamis-int8", "onnxsim-l2", "onnxsim-wanda")


def method(name: str, goal: float) -> Maker:
    """The method of that name, for a ratio of latencies; or what it refers to, whatever the goal."""
    if name in WHOLE:
        return WHOLE[name]
    if name == "tamis-int8":
        return partial(int8, goal=goal)
    if name.startswith("onnxsim-"):
        return partial(searched, prune=by_magnitude if name == "onnxsim-l2" else by_wanda, goal=goal)
    return partial(pruned, options=OPTIONS[name], goal=goal)


def refers_to(name: str) -> str:
    """The one of ``WHOLE`` whose time is 1 for a method."""
    return ONNXSIM if name.startswith("onnxsim-") else TAMIS
