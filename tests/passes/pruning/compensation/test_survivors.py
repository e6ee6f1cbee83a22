from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassContext
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tamis.passes.pruning.compensation.survivors import Survivors, compose, survivors
from tests.models import elements, model, random

NET = """g (float[1, 3, 6, 6] x) => (float[1, 4] y) {
    a = Conv(x, w)
    r = Relu(a)
    d = Conv<group=6>(r, k)
    t = ConvTranspose(d, u)
    f = Flatten(t)
    m = MatMul(f, v)
    y = Gemm<transB=1>(m, z)
}"""


def net() -> ir.Model:
    found = model(
        NET, w=random(6, 3, 1, 1), k=random(6, 1, 3, 3), u=random(6, 5, 1, 1), v=random(80, 7), z=random(4, 7)
    )
    Canonicalize()(found, PassContext())
    for node in found.graph:
        node.name = node.op_type if node.op_type != "Conv" else f"Conv{node.attributes.get_int('group', 1)}"
    return found


def cut(found: ir.Model, **gone: list[int]) -> dict[str, Survivors]:
    graph = AxisGraph(found)
    return survivors(
        remove(graph, {graph.group(name): np.array(units) for name, units in gone.items()}), list(found.graph)
    )


def test_channels_that_stay() -> None:
    found = net()
    kept = cut(found, Conv1=[1, 4], ConvTranspose=[0], MatMul=[6])
    left, columns = [0, 2, 3, 5], list(range(16, 80))
    assert {name: (s.inputs.tolist(), s.outputs.tolist()) for name, s in kept.items()} == {
        "Conv1": ([0, 1, 2], left),
        "Conv6": (left, left),
        "ConvTranspose": (left, [1, 2, 3, 4]),
        "MatMul": (columns, [0, 1, 2, 3, 4, 5]),
        "Gemm": ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3]),
    }


def test_a_single_channel_is_left() -> None:
    """One group is left of a depthwise layer, which looks like a plain one then."""
    kept = cut(net(), Conv1=[0, 1, 3, 4, 5])
    assert [kept["Conv6"].inputs.tolist(), kept["Conv6"].outputs.tolist()] == [[2], [2]]


@pytest.mark.parametrize("first", [[], [1, 4]])
def test_two_removals_one_after_the_other(first: list[int]) -> None:
    found = net()
    whole = elements(found, "w")
    both = compose(cut(found, Conv1=first), cut(found, Conv1=[0, 2]))
    name = next(n for n in found.graph if n.name == "Conv1").inputs[1]
    assert name is not None and name.name is not None
    assert np.array_equal(whole[both["Conv1"].outputs], elements(found, name.name))
    assert both["ConvTranspose"].inputs.tolist() == both["Conv1"].outputs.tolist()


def test_layers_that_are_new_or_gone() -> None:
    one, two = (Survivors(np.arange(n), np.arange(n)) for n in (1, 2))
    assert compose({"gone": one}, {"new": two}) == {"new": two}
