"""The pruning benchmark: its methods, the search of onnxsim's share, its table, the sandwich of channel multiples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.pruning import multiples, onnxsim_pruners
from benchmarks.pruning.methods import NAMES, ONNXSIM, OPTIONS, TAMIS, method, refers_to
from benchmarks.pruning.table import COLUMNS, print_tables
from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case
from tamis.compiler.analysis.macs import macs_of
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.prune_channels import PruneChannels

CASE = Case("toy", Path("folder"), Path("data"), "accuracy", 1.0, 1)


def test_every_method_has_a_maker_and_something_to_refer_to() -> None:
    assert all(callable(method(name, 0.7)) for name in (*NAMES, TAMIS, ONNXSIM))
    assert refers_to("onnxsim-l2") == ONNXSIM and refers_to("random") == TAMIS


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_those_of_the_pass(name: str) -> None:
    PruneChannels.options_type.model_validate({"latency": 0.7, "guard": "off", **OPTIONS[name]})


@pytest.mark.parametrize(
    ("goal", "share", "note"), [(0.8, 0.4, "40%"), (0.05, 0.9, "no share reaches it; 0.55 at 90%")]
)
def test_the_smallest_share_that_reaches_the_goal(
    goal: float, share: float, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time falls by half of the share."""
    monkeypatch.setattr(onnxsim_pruners, "_simple", lambda case: 0.0)
    monkeypatch.setattr(onnxsim_pruners, "_saved", lambda model, path: Candidate(Path(f"{model:.2f}")))
    monkeypatch.setattr(onnxsim_pruners, "_ratio", lambda case, base, made: 1 - float(str(made.path)) / 2)
    monkeypatch.setattr(Case, "feeds", lambda self, part: [])
    found = onnxsim_pruners.searched(CASE, tmp_path, prune=lambda model, samples, share: share, goal=goal)
    assert str(found.path) == f"{share:.2f}" and note in found.notes[0]


def _ratio(speedup: float) -> dict[str, float]:
    return {"speedup": speedup, "low": speedup * 0.9, "high": speedup * 1.1}


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, Any] = {
        "model": "toy",
        "goal": 0.8,
        "method": "tamis",
        "metric": "accuracy",
        "before": 0.9,
        "after": 0.89,
        "drop": 0.01,
        "against_whole": _ratio(1.25),
        "latency": _ratio(1.5),
        "decided": {"predicted": 0.81, "measured": 0.8, "predictions": [[0.81, 0.8], [0.5, 0.6]]},
        "notes": ["a note"],
        "macs": 30,
        "whole_macs": 40,
        "size": 0.7,
        "made_seconds": 3.0,
        "peak_mb": 100.0,
    }
    print_tables([row, {"model": "toy", "goal": 0.8, "method": "random", "error": "it broke"}])
    printed = capsys.readouterr().out
    assert all(column in printed for column in COLUMNS)
    cells = (
        "toy: accuracy 90.00 as given",
        "0.80 (0.73 to 0.89)",
        "0.81",
        "1.50 (1.35 to 1.65)",
        "0.75",
        "0.70",
        "+1.00",
    )
    assert all(cell in printed for cell in cells)
    assert "1 of 1 results, 1 of 2 allocations" in printed
    assert "failed" in printed and "it broke" in printed and "a note" in printed


def test_macs_of_the_sandwich() -> None:
    for channels in (5, 16):
        model = multiples.build(channels)
        Canonicalize()(model)
        assert sum(macs_of(node) or 0 for node in model.graph) == multiples.macs(channels)
