"""Sums of products against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tamis.passes.pruning.allocation.cost import PolynomialCost
from tamis.passes.pruning.allocation.polynomial import Lengths, Polynomial, Term, lengths_of
from tests.passes.pruning.allocation.allocation_nets import group

UNITS = (8, 5, 12, 7)


def random_polynomial(seed: int) -> tuple[list[Term], Lengths, list[tuple[float, dict[int, int]]]]:
    """Terms over six sizes of four groups, a size of no group and a square among them."""
    random = np.random.default_rng(seed)
    rows: list[tuple[float, dict[int, int]]] = [(float(random.integers(0, 4)), {}) for _ in range(6)]
    for fixed, each in rows[1:]:
        each |= {int(g): int(random.integers(1, 4)) for g in random.permutation(4)[: random.integers(1, 3)]}
        assert fixed >= 0
    sizes = [tuple(int(s) for s in random.integers(0, 6, random.integers(0, 4))) for _ in range(9)]
    terms = [Term(float(random.uniform(0.5, 2)), s) for s in [*sizes, (2, 2)]]
    return terms, lengths_of(rows, 4), rows


def by_loop(terms: list[Term], rows: list[tuple[float, dict[int, int]]], left: list[int]) -> float:
    sizes = [fixed + sum(n * left[g] for g, n in each.items()) for fixed, each in rows]
    return sum(term.coefficient * math.prod(sizes[s] for s in term.sizes) for term in terms)


@pytest.mark.parametrize("seed", range(8))
def test_sums_and_savings(seed: int) -> None:
    terms, lengths, rows = random_polynomial(seed)
    groups = [group(f"g{i}", units) for i, units in enumerate(UNITS)]
    cost = PolynomialCost("MACs", groups, Polynomial(terms, lengths))
    assert cost.whole({}) == pytest.approx(by_loop(terms, rows, list(UNITS)), rel=1e-12)
    left = [6, 5, 3, 4]
    widths = dict(zip(groups, left, strict=True))
    assert cost.whole(widths) == pytest.approx(by_loop(terms, rows, left), rel=1e-12)
    for number, each in enumerate(groups):
        fewer = [n - 2 if i == number else n for i, n in enumerate(left)]
        wanted = by_loop(terms, rows, left) - by_loop(terms, rows, fewer)
        assert cost.savings(widths, each, 2) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_a_width_counts_as_the_block_that_it_is_in() -> None:
    groups = [group("g", 24)]
    cost = PolynomialCost("ns", groups, Polynomial([Term(1.0, (0,))], lengths_of([(0, {0: 1})], 1)), [16])
    assert [cost.whole({groups[0]: n}) for n in (24, 17, 16, 1)] == [32, 32, 16, 16]
    assert cost.savings({}, groups[0], 7) == 0
    assert cost.savings({}, groups[0], 8) == 16


def test_a_factor_and_the_terms_again() -> None:
    terms, lengths, _ = random_polynomial(3)
    found = Polynomial(terms, lengths)
    left = np.asarray([3.0, 2.0, 5.0, 1.0])
    assert Polynomial(found.times(2.5).terms, lengths).at(left) == pytest.approx(2.5 * found.at(left))


def test_a_constant_alone_saves_nothing() -> None:
    groups = [group("g", 4)]
    cost = PolynomialCost("bytes", groups, Polynomial([Term(7.0)], lengths_of([], 1)))
    assert (cost.whole({}), cost.savings({}, groups[0], 2)) == (7.0, 0.0)
