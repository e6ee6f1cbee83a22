"""Write an ONNX graph node by node from arrays, for networks that ship weights but no ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8  # the IR version that goes with this opset

Shape = Sequence[int | str]  # a name stands for a dynamic dimension


class GraphBuilder:
    """Collects nodes and initializers; ``add`` returns the name of the node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Add an initializer, once per name."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def save(
        self, path: Path, name: str, inputs: Mapping[str, tuple[type[np.generic], Shape]], outputs: Mapping[str, Shape]
    ) -> None:
        """Check the model and write it.

        Args:
            path: The file.
            name: Name of the graph.
            inputs: Graph input -> NumPy type and shape.
            outputs: Graph output (float32) -> shape.
        """
        kinds: dict[type[np.generic], int] = {np.float32: TensorProto.FLOAT, np.int64: TensorProto.INT64}
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(n, kinds[t], list(s)) for n, (t, s) in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in outputs.items()],
            list(self.weights.values()),
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[opset], producer_name="tamis zoo")
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))
