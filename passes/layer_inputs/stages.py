"""Compute a model in stages, with the values between them held, so that each can be corrected before the next runs.

::

    x -> [ ... layer 1 ] -> [ ... layer 2 ] -> ...      a stage: what its end depends on, less the stages before

Every node runs once a sample, however many stages there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.observe import reads
from tamis.compiler.runnable import load_unoptimized

Array = np.ndarray[Any, np.dtype[Any]]
Values = dict[str, Array]
"""What is held of one sample: the values that stages to come read."""


class Stages:
    """Stages of a model.

    Args:
        model: Computed as it is written; every value between stages is a tensor with a name.
        ends: Outputs of nodes of the main graph, one a stage, each computed no later than those behind it need it.
    """

    def __init__(self, model: ir.Model, ends: Sequence[ir.Value]) -> None:
        self._model = model
        self._ends = ends
        self._stages = _cut(model, ends)
        stage_of = {node: i for i, nodes in enumerate(self._stages) for node in nodes}
        self._last = {v.name: i for node, i in sorted(stage_of.items(), key=lambda pair: pair[1]) for v in reads(node)}

    def open(self, number: int, held: Values) -> Callable[[Values], Values]:
        """What computes stage ``number`` from values such as ``held``: gives its end, and what later stages read."""
        nodes = self._stages[number]
        made = {v: None for node in nodes for v in node.outputs if v.name}
        read = dict.fromkeys(v for node in nodes for v in reads(node) if v not in made)
        constants = [v for v in read if v.name in self._model.graph.initializers]
        inputs = [v for v in read if v.name in held]
        ends = set(self._ends[number:])
        outputs = [v for v in made if v in ends or self._last.get(v.name, -1) > number]
        if not nodes:  # computed by a stage before
            return lambda feeds: {}
        view = ir.GraphView(
            inputs, outputs, nodes=nodes, initializers=constants, opset_imports=self._model.graph.opset_imports
        )
        graph = view.clone()
        for value in graph.inputs:
            value.shape = None
            value.type = ir.TensorType(ir.DataType.from_numpy(held[str(value.name)].dtype))
        functions = list(self._model.functions.values())
        runner = load_unoptimized(ir.Model(graph, ir_version=self._model.ir_version, functions=functions))
        names = [str(v.name) for v in inputs]
        return lambda feeds: runner({name: feeds[name] for name in names})

    def forget(self, number: int, held: Values) -> None:
        """Drop what no stage behind ``number`` reads."""
        ends = {v.name for v in self._ends[number + 1 :]}
        for name in [n for n in held if self._last.get(n, -1) <= number and n not in ends]:
            del held[name]


def _cut(model: ir.Model, ends: Sequence[ir.Value]) -> list[list[ir.Node]]:
    position = {node: i for i, node in enumerate(model.graph)}
    done: set[ir.Node] = set()
    stages = []
    for end in ends:
        stage, todo = [], [end.producer()]
        while todo:
            node = todo.pop()
            if node is not None and node in position and node not in done:
                done.add(node)
                stage.append(node)
                todo.extend(value.producer() for value in reads(node))
        stages.append(sorted(stage, key=lambda node: position[node]))
    return stages
