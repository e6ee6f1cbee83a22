"""Units that are taken out, and units that are masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.errors import PassError
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis import Axis, Role, Slot
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import mask, remove
from tests.models import Array, model, random, run

RESIDUAL = """
g (float[1, 3, 6, 6] x) => (float[1, 5, 6, 6] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
  r = Sigmoid(a)
  d = Conv<pads = [1, 1, 1, 1], group = 8>(r, w1, b1)
  e = Conv(d, w2)
  s = Add(a, e)
  y = Conv(s, w3)
}
"""
RESIDUAL_SHAPES = {
    "w0": (8, 3, 3, 3),
    "b0": (8,),
    "w1": (8, 1, 3, 3),
    "b1": (8,),
    "w2": (8, 8, 1, 1),
    "w3": (5, 8, 1, 1),
}
SHARED = """
g (float[1, 4] x) => (float[1, 4] y) {
  a = Gemm(x, w, b)
  c = Relu(a)
  d = Gemm(c, w, b)
  e = Relu(d)
  y = MatMul(e, w)
}
"""


def residual() -> ir.Model:
    return _net(RESIDUAL, RESIDUAL_SHAPES)


def shared() -> ir.Model:
    return _net(SHARED, {"w": (4, 4), "b": (4,)})


def _net(text: str, shapes: dict[str, tuple[int, ...]]) -> ir.Model:
    made = model(text, **{name: random(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())})
    Canonicalize()(made)
    return made


def output(of: ir.Model) -> Array:
    assert of.graph.inputs[0].shape is not None
    shape = of.graph.inputs[0].shape.numpy()
    return run(of, {"x": random(*shape, seed=99)})[0]


def test_a_residual_net_is_one_group() -> None:
    graph = AxisGraph(residual())
    assert [g.units for g in graph.groups] == [8]
    (group,) = graph.groups
    constants = {
        (m.axis.tensor.value.name, m.axis.index): m.role for m in group.members if isinstance(m.axis.tensor, Slot)
    }
    assert constants == {
        ("w0", 0): Role.PRODUCE, ("b0", 0): Role.OFFSET, ("w1", 0): Role.SCALE, ("b1", 0): Role.OFFSET,
        ("w2", 0): Role.PRODUCE, ("w2", 1): Role.CONSUME, ("w3", 1): Role.CONSUME,
    }  # fmt: skip
    assert [(f.units, f.reasons) for f in graph.frozen] == [(5, ("a graph output", "no weight reads it"))]


@pytest.mark.parametrize("units", [[0], [7], [1, 2, 5], list(range(7))])
def test_removed_computes_what_masked_does(units: list[int]) -> None:
    removed, masked = residual(), residual()
    for each, act in ((removed, remove), (masked, mask)):
        graph = AxisGraph(each)
        act(graph, {graph.groups[0]: np.asarray(units)})
    onnx.checker.check_model(ir.to_proto(removed), full_check=True)
    np.testing.assert_allclose(output(removed), output(masked), rtol=1e-5, atol=1e-5)
    conv = [node for node in removed.graph if node.op_type == "Conv"][1]
    assert conv.attributes.get_int("group") == 8 - len(units)
    assert conv.inputs[1] is not None and conv.inputs[1].shape == ir.Shape((8 - len(units), 1, 3, 3))
    assert conv.outputs[0].shape is not None and conv.outputs[0].shape[1] == 8 - len(units)


def test_kept_positions_are_told() -> None:
    graph = AxisGraph(residual())
    kept = remove(graph, {graph.groups[0]: np.asarray([0, 3])})
    conv = next(node for node in graph.model.graph if node.op_type == "Conv")
    axis = Axis(conv.outputs[0], 1)
    assert kept.positions(axis).tolist() == [1, 2, 4, 5, 6, 7] and kept.size_before(axis) == 8


def test_nothing_left_is_refused() -> None:
    graph = AxisGraph(residual())
    with pytest.raises(PassError, match="nothing would be left"):
        remove(graph, {graph.groups[0]: np.arange(8)})


def test_readers_of_one_weight_keep_different_parts() -> None:
    models = [shared() for _ in range(2)]
    for each, act in zip(models, (remove, mask), strict=True):
        graph = AxisGraph(each)
        assert [g.units for g in graph.groups] == [4, 4]
        act(graph, {graph.groups[0]: np.asarray([0, 2]), graph.groups[1]: np.asarray([3])})
    np.testing.assert_allclose(output(models[0]), output(models[1]), rtol=1e-5, atol=1e-5)
    assert [tuple(n.inputs[1].shape or ()) for n in models[0].graph if n.op_type != "Relu" and n.inputs[1]] == [
        (4, 2), (2, 3), (3, 4),
    ]  # fmt: skip


def test_a_planted_wrong_tie_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of removed against masked is able to fail: here the weight's positions are off by one."""
    from tamis.passes.pruning.axes.ties import Ties

    tie = Ties.tie

    def wrong(self: Ties, a: Axis, b: Axis, of_a: Any = None, of_b: Any = None) -> None:
        if isinstance(a.tensor, Slot) and a.tensor.value.name == "w3" and of_a is None:
            of_a = np.roll(np.arange(self.size(a) or 0), 1)
        tie(self, a, b, of_a, of_b)

    removed, masked = residual(), residual()
    graph = AxisGraph(masked)
    mask(graph, {graph.groups[0]: np.asarray([1])})
    monkeypatch.setattr(Ties, "tie", wrong)
    graph = AxisGraph(removed)
    remove(graph, {graph.groups[0]: np.asarray([1])})
    assert np.abs(output(removed) - output(masked)).max() > 1e-2
