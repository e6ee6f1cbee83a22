"""Only widths that fill blocks are proposed."""

from __future__ import annotations

import pytest

from tamis.passes.pruning.allocation.widths import step_of, widths_of
from tests.passes.pruning.allocation.allocation_nets import NETS, axis_graph, group


@pytest.mark.parametrize(
    ("each", "multiple", "step"),
    [((1,), 8, 8), ((64,), 8, 1), ((4,), 16, 4), ((12,), 16, 4), ((64, 1), 8, 8), ((3,), 1, 1), ((64, 64), 16, 1)],
)
def test_a_step_fills_blocks_in_each_weight(each: tuple[int, ...], multiple: int, step: int) -> None:
    assert step_of(group("g", 12, *each), multiple) == step


@pytest.mark.parametrize(
    ("units", "multiple", "min_keep", "widths"),
    [
        (32, 16, 0.0, (32, 16)),
        (24, 16, 0.0, (24, 16)),
        (40, 8, 0.0, (40, 32, 24, 16, 8)),
        (40, 8, 0.25, (40, 32, 24, 16)),
        (40, 8, 0.4, (40, 32, 24, 16)),
        (8, 16, 0.0, (8,)),
        (16, 16, 0.0, (16,)),
        (17, 16, 0.0, (17, 16)),
        (10, 1, 0.7, (10, 9, 8, 7)),
        (32, 8, 1.0, (32,)),
    ],
)
def test_widths(units: int, multiple: int, min_keep: float, widths: tuple[int, ...]) -> None:
    assert widths_of(group("g", units), multiple, min_keep) == widths


def test_of_a_real_network_no_single_channel_is_proposed() -> None:
    for found in axis_graph(NETS["plain"]()).groups:
        assert widths_of(found, 16)[1:] == (16,)


def test_hidden_units_count_by_what_reads_them_and_not_by_their_gates() -> None:
    hidden = next(g for g in axis_graph(NETS["recurrent"]()).groups if g.units == 20)
    assert step_of(hidden, 8) == 8


def test_heads_count_by_their_channels() -> None:
    (heads,) = axis_graph(NETS["attention"]()).groups
    assert (heads.units, step_of(heads, 16), widths_of(heads, 16)) == (4, 2, (4, 2))
