from __future__ import annotations

import numpy as np
import pytest

from tamis.passes.layer_inputs.stages import Stages, Values
from tests.models import Array, model, random, run

CHAIN = """g (float[1, 4] x) => (float[1, 4] y) {
    a = Add(x, w)
    b = Mul(a, a)
    c = Sub(b, x)
    y = Add(c, a)
}"""
INSIDE = """g (float[1, 4] x, bool p) => (float[1, 4] y) {
    a = Add(x, w)
    b = Mul(x, x)
    y = If(p) <
        then_branch = t () => (float[1, 4] s) { s = Add(a, b) },
        else_branch = e () => (float[1, 4] d) { d = Sub(a, b) }
    >
}"""


def through(text: str, feeds: Values, names: list[str]) -> tuple[dict[str, Array], list[set[str]]]:
    """Ends, and what is held after each stage."""
    found = model(text, w=random(4))
    values = {v.name: v for node in found.graph for v in node.outputs}
    stages = Stages(found, [values[name] for name in names])
    held, ends, left = dict(feeds), {}, []
    for number, name in enumerate(names):
        held.update(stages.open(number, held)(held))
        ends[name] = held[name]
        stages.forget(number, held)
        left.append(set(held))
    return ends, left


def test_values_are_those_of_the_whole_and_are_dropped() -> None:
    feeds = {"x": random(1, 4, seed=1)}
    ends, left = through(CHAIN, feeds, ["a", "b", "y"])
    a = feeds["x"] + random(4)
    np.testing.assert_allclose(ends["b"], a * a, rtol=1e-6)
    np.testing.assert_allclose(ends["y"], run(model(CHAIN, w=random(4)), feeds)[0], rtol=1e-6)
    assert left == [{"x", "a"}, {"x", "a", "b"}, set()]


def test_a_change_is_seen_by_later_stages() -> None:
    found = model(CHAIN, w=random(4))
    values = {v.name: v for node in found.graph for v in node.outputs}
    stages = Stages(found, [values["b"], values["y"]])
    held: Values = {"x": random(1, 4, seed=1)}
    held.update(stages.open(0, held)(held))
    before = stages.open(1, held)(held)["y"]
    held["b"] = held["b"] + np.float32(1)
    np.testing.assert_allclose(stages.open(1, held)(held)["y"], before + 1, rtol=1e-5)


@pytest.mark.parametrize("names", [["b", "a", "y"], ["a", "y"], ["y"]])
@pytest.mark.parametrize("chosen", [True, False])
def test_values_read_inside_a_branch(names: list[str], chosen: bool) -> None:
    feeds = {"x": random(1, 4, seed=1), "p": np.asarray(chosen)}
    ends, _ = through(INSIDE, feeds, names)
    np.testing.assert_allclose(ends["y"], run(model(INSIDE, w=random(4)), feeds)[0], rtol=1e-6)


def test_an_end_that_a_stage_before_has_computed() -> None:
    ends, _ = through(CHAIN, {"x": random(1, 4, seed=1)}, ["b", "a"])
    np.testing.assert_allclose(ends["b"], ends["a"] ** 2, rtol=1e-6)
