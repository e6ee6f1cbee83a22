"""``canonicalize`` on a synthetic chain: time must be linear in the number of nodes.

A chain of Add and Relu over one tensor, with a shared constant and a dead branch every tenth node.
Goal: 50,000 nodes within 6 times the time of 10,000.
"""

from __future__ import annotations

import time

import numpy as np
import onnx_ir as ir

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


def main() -> None:
    """Print the ratio of the two sizes."""
    best = []
    for size in SIZES:
        seconds = []
        for _ in range(ROUNDS):
            model = chain(size)
            start = time.perf_counter()
            pass_class("canonicalize")()(model)
            seconds.append(time.perf_counter() - start)
        best.append(min(seconds))
    print(f"canonicalize, {SIZES[1]:,} nodes / {SIZES[0]:,} nodes: {best[1] / best[0]:.2f} (goal: <= 6)")


if __name__ == "__main__":
    main()
