"""Concat and Split: removed equals masked, and the sizes that are written."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.axes.axis_graph import AxisGraph
from tamis.passes.pruning.axes.remove import remove
from tests.models import check, random
from tests.passes.pruning.coupling.moving_nets import hold, image_net, ints, operators


def test_concat_of_two_convolutions_and_a_constant() -> None:
    found = image_net(
        "b = Conv (x, other) t = Concat <axis = 1> (h, k, b)",
        17,
        other=random(6, 3, 1, 1),
        k=random(2, 3, 4, 4, seed=3),
    )
    hold(found, [8, 6])


def test_concat_of_one_value_twice() -> None:
    hold(image_net("t = Concat <axis = 1> (h, h)", 16), [8])


def test_concat_along_another_axis_slices_its_constant() -> None:
    found = image_net("t = Concat <axis = 2> (h, k)", 8, k=random(2, 8, 1, 4))
    hold(found, [8])


def test_concat_of_a_residual_part() -> None:
    """Channels of the sum go as far as the Concat; the first part is added to both."""
    found = image_net(
        "r = Relu (h) c = Concat <axis = 1> (h, r) b = Conv (x, other) t = Add (c, b)", 16, other=random(16, 3, 1, 1)
    )
    hold(found, [8])


SPLITS = {
    "sizes": ("a, b = Split <axis = 1> (h, s)", 17),
    "equal": ("a, b = Split <axis = 1> (h)", 17),
    "number": ("a, b = Split <axis = -3, num_outputs = 2> (h)", 18),
    "attribute": ("a, b = Split <axis = 1, split = [5, 3]> (h)", 11),
    "equal, old": ("a, b = Split <axis = 1> (h)", 11),
}


@pytest.mark.parametrize("name", SPLITS)
def test_split_into_two_convolutions(name: str) -> None:
    split, opset = SPLITS[name]
    parts = (5, 3) if name in ("sizes", "attribute") else (4, 4)
    sizes = {"s": ints(5, 3)} if name == "sizes" else {}
    found = image_net(
        f"{split} c = Conv (a, wa) d = Conv (b, wb) e = Relu (d) t = Add (c, e)",
        4,
        opset,
        wa=random(4, parts[0], 1, 1, seed=4),
        wb=random(4, parts[1], 1, 1, seed=5),
        **sizes,
    )
    hold(found, [*parts, 4])


def test_parts_of_a_split_that_are_multiplied_go_together() -> None:
    (without, *_) = hold(image_net("a, b = Split <axis = 1> (h) c = Sigmoid (b) t = Mul (a, c)", 4), [4])
    assert operators(without) == ["Conv", "Split", "Sigmoid", "Mul", "Conv"]


def test_written_sizes_are_those_that_are_left() -> None:
    found = image_net("a, b = Split <axis = 1> (h) t = Concat <axis = 1> (b, a)", 8)
    graph = AxisGraph(found)
    remove(graph, {group: np.arange(i) for i, group in enumerate(graph.groups)})
    check(found)
    (split,) = (node for node in found.graph if node.op_type == "Split")
    sizes = constant_array(split.inputs[1])
    assert sizes is not None and sorted(sizes.tolist()) == sorted(4 - i for i in range(len(graph.groups)))


def test_a_split_by_computed_sizes_is_frozen_along_its_axis() -> None:
    found = image_net(
        "i = Cast <to = 7> (c) a, b = Split <axis = 1> (h, i) t = Concat <axis = 1> (b, a)", 8, c=ints(5, 3)
    )
    for value in list(found.graph.initializers.values()):
        if value.name == "s":
            found.graph.inputs.append(value)
    node = next(node for node in found.graph if node.op_type == "Split")
    sizes = ir.Value(name="sizes", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([2]))
    found.graph.inputs.append(sizes)
    node.replace_input_with(1, sizes)
    assert not AxisGraph(found).groups
