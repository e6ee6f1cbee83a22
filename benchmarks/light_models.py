"""The ``light_*`` topologies of the ``onnx`` package with random weights: classic networks, ready to be timed.

The package replaces their weights by ConstantOfShape nodes to stay small. Here each becomes an initializer of normally
distributed numbers, scaled so that activations keep their size; variances of normalizations are positive.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import onnx_ir as ir

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"


def names() -> list[str]:
    """Names of the topologies, sorted."""
    return sorted(path.stem for path in FOLDER.glob("light_*.onnx"))


def write_light_model(name: str, path: Path, seed: int = 0) -> None:
    """Write ``name`` with random weights, the same ones every time."""
    model = ir.load(FOLDER / f"{name}.onnx")
    random = np.random.default_rng(seed)
    for node in list(model.graph):
        if node.op_type == "ConstantOfShape":
            _give_weights(model, node, random)
    model.ir_version = 8  # before 4, every initializer had to be a graph input
    ir.save(model, path)


def _give_weights(model: ir.Model, node: ir.Node, random: np.random.Generator) -> None:
    given, output = node.inputs[0], node.outputs[0]
    assert given is not None and given.const_value is not None
    shape = tuple(int(n) for n in given.const_value.numpy())
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    array = (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
    if len(shape) < 2:
        array = (np.abs(array) / 10 + 0.5).astype(np.float32)  # bias, scale, mean or variance of a normalization
    new = ir.Value(name=f"{output.name}_weight", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
    new.const_value = ir.tensor(array, name=new.name)
    model.graph.register_initializer(new)
    output.replace_all_uses_with(new, replace_graph_outputs=False)
    model.graph.remove(node, safe=True)
