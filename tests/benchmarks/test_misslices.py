"""The check of pruned models: the same in double precision, and a line that says what was found."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pruning.both_ways import difference, masked, random_units, removed, run
from benchmarks.pruning.in_double import run_in_double
from benchmarks.pruning.misslices import Case, line_of
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.coupling import rules
from tests.passes.pruning.planted_rules import InOrder, distorted
from tests.passes.pruning.random_graphs import random_graph


def test_double_precision_is_the_same_function_with_less_rounding() -> None:
    found = random_graph(0)
    assert difference(run(found.model, found.feeds), run_in_double(found.model, found.feeds)) < 1e-5
    graph = AxisGraph(found.model)
    chosen = random_units(graph, np.random.default_rng(0))
    both = [run_in_double(make(found.model, chosen), found.feeds) for make in (removed, masked)]
    assert difference(*both) < 1e-12


def test_a_line_tells_a_right_model_from_a_wrong_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = next(
        g
        for g in map(random_graph, range(60))
        if "recurrent" in g.moves and "GRU" in {n.op_type for n in g.model.graph}
    )
    case = Case("graph", graph.model, graph.feeds)
    assert line_of(case, 100)
    assert "double" not in capsys.readouterr().out
    monkeypatch.setitem(rules._table(), "GRU", distorted(rules._table()["GRU"], InOrder))
    assert not line_of(case, 100)
    assert "in double precision" in capsys.readouterr().out
