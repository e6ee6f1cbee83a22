"""Bisection names the node that was broken, not one after it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler import bisect
from tamis.compiler.bisect import first_divergence
from tamis.compiler.graph_pass import Contract
from tamis.compiler.runnable import load_unoptimized
from tests.models import model, random

DEPTH = 12
BODY = " ".join(f"h{i + 1} = MatMul(h{i}, W{i})" for i in range(DEPTH))
TEXT = f"g (float[1, 6] h0) => (float[1, 6] h{DEPTH}) {{ {BODY} }}"
FEEDS = {"h0": random(1, 6, seed=50)}


def chain(broken: int | None = None, factor: float = 1.01) -> ir.Model:
    weights = {f"W{i}": random(6, 6, seed=i) for i in range(DEPTH)}
    if broken is not None:
        weights[f"W{broken}"] = weights[f"W{broken}"] * np.float32(factor)
    return model(TEXT, **weights)


@pytest.mark.parametrize("broken", [0, 5, DEPTH - 1])
@pytest.mark.parametrize("at_once", [1, 5, 64])
def test_the_broken_node_is_named(broken: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bisect, "VALUES_AT_ONCE", at_once)
    found = first_divergence(chain(), chain(broken), FEEDS, load_unoptimized)
    assert found is not None
    assert found.value == f"h{broken + 1}"
    assert found.op_type == "MatMul"
    assert found.agreed == (f"h{broken}" if broken else None)
    assert found.error == pytest.approx(0.01, rel=0.1)
    assert f"'h{broken + 1}'" in found.describe()


def test_equal_models_do_not_diverge() -> None:
    assert first_divergence(chain(), chain(), FEEDS, load_unoptimized) is None


def test_rounding_counts_for_exact_only() -> None:
    tiny = 1 + 2.0**-21
    assert first_divergence(chain(), chain(3, tiny), FEEDS, load_unoptimized) is None
    found = first_divergence(chain(), chain(3, tiny), FEEDS, load_unoptimized, contract=Contract.EXACT)
    assert found is not None
    assert found.value == "h4"


def test_a_tolerance_of_ones_own() -> None:
    assert first_divergence(chain(), chain(3), FEEDS, load_unoptimized, tolerance=0.5) is None
    assert first_divergence(chain(), chain(3), FEEDS, load_unoptimized, tolerance=0.005) is not None
