"""``canonicalize``, and all of ``lossless``, on a synthetic chain: time must be linear in the number of nodes.

A chain of Add and Relu over one tensor, with a shared constant and a dead branch every tenth node.
Goal: 50,000 nodes within 6 times the time of 10,000.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import GraphPass
from tamis.compiler.prepare import plan_target
from tamis.compiler.recipe_file import load_recipe
from tamis.compiler.registry import pass_class

SIZES = (10_000, 50_000)
ROUNDS = 3


def chain(nodes: int) -> ir.Model:
    """``nodes`` nodes in a row on a float32 [4] tensor."""
    x = ir.Value(name="x", shape=ir.Shape((4,)), type=ir.TensorType(ir.DataType.FLOAT))
    one = ir.Value(name="one", const_value=ir.tensor(np.ones(4, np.float32), name="one"))
    one.shape, one.type = ir.Shape((4,)), x.type
    body: list[ir.Node] = []
    last = x
    while len(body) < nodes:
        node = ir.node("Relu", [last]) if len(body) % 2 else ir.node("Add", [last, one])
        body.append(node)
        if len(body) % 10 == 0:
            body.append(ir.node("Neg", [last]))
        last = node.outputs[0]
    last.name = "y"
    last.shape, last.type = ir.Shape((4,)), x.type
    graph = ir.Graph([x], [last], nodes=body, initializers=[one], opset_imports={"": 17}, name="chain")
    return ir.Model(graph, ir_version=9)


def steps(names: Sequence[str] | None) -> list[GraphPass[Any]]:
    """The passes of these names; all of ``lossless`` and the legalization for this machine if None."""
    if names is not None:
        return [pass_class(name)() for name in names]
    recipe = load_recipe("lossless").recipe
    plan = plan_target(recipe.targets[0], recipe)
    return [*plan.steps, *plan.target.runtime.legalize_passes(plan.target.machine)]


def seconds(size: int, names: Sequence[str] | None) -> float:
    """The fastest of some rounds over a chain of that size."""
    found = []
    for _ in range(ROUNDS):
        model = chain(size)
        start = time.perf_counter()
        for step in steps(names):
            step(model)
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    """Print the ratio of the two sizes."""
    for label, names in (("canonicalize", ["canonicalize"]), ("lossless", None)):
        small, large = (seconds(size, names) for size in SIZES)
        print(f"{label}, {SIZES[1]:,} nodes / {SIZES[0]:,} nodes: {large / small:.2f} (goal: <= 6)")


if __name__ == "__main__":
    main()
