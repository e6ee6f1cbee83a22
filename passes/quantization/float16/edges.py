"""Join nodes in float16 with nodes in float32: convert constants, insert Casts, keep the types of graph outputs."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_value
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.quantization.float16.arrays import round_float16

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
Use = tuple[ir.Node, int]


class Edges:
    """Rewires one model.

    Args:
        names: Free names of the model.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self.vanished = 0
        """Elements of constants that became zero."""

    def narrow(self, value: ir.Value, uses: list[Use]) -> None:
        """Let ``uses`` read ``value``, which is float32, as float16."""
        array = None if value.is_graph_input() else constant_array(value) if value.is_initializer() else None
        if array is not None:
            self._narrow_constant(value, uses)
            return
        producer = value.producer()
        if producer is not None and producer.op_type == "Cast" and _dtype(producer.inputs[0]) == HALF:
            replacement = producer.inputs[0]
        else:
            replacement = self._cast(value, HALF, f"{value.name}_float16")
        _rewire(uses, replacement)

    def _narrow_constant(self, value: ir.Value, uses: list[Use]) -> None:
        array, graph = constant_array(value), value.graph
        assert array is not None and value.name is not None and isinstance(graph, ir.Graph)
        rounded = round_float16(array)
        self.vanished += rounded.vanished
        if len(uses) == len(value.uses()) and not value.is_graph_output():
            value.const_value, value.type = ir.tensor(rounded.array, name=value.name), ir.TensorType(HALF)
            return
        name = self._names.fresh(f"{value.name}_float16")
        half = constant_value(name, ir.tensor(rounded.array, name=name))
        graph.register_initializer(half)
        _rewire(uses, half)

    def widen(self, value: ir.Value, uses: list[Use]) -> None:
        """Let ``uses``, and the graph output if it is one, read ``value``, which is float16 by now, as float32."""
        if not uses and not value.is_graph_output():
            return
        wide = self._cast(value, FLOAT, f"{value.name}_float32")
        _rewire(uses, wide)
        if value.is_graph_output():
            graph = value.graph
            assert graph is not None
            for index, output in enumerate(graph.outputs):
                if output is value:
                    graph.outputs[index] = wide
            value.name, wide.name = wide.name, value.name

    def _cast(self, value: ir.Value, to: ir.DataType, name: str) -> ir.Value:
        """A Cast of ``value`` right behind where it comes from, so that every reader comes later."""
        name = self._names.fresh(name)
        cast = ir.node("Cast", [value], {"to": int(to)}, name=name)
        output = cast.outputs[0]
        output.name, output.type, output.shape = name, ir.TensorType(to), value.shape
        producer, graph = value.producer(), value.graph
        if producer is not None and producer.graph is not None:
            producer.graph.insert_after(producer, cast)
        else:
            assert graph is not None
            graph.insert_before(graph[0], cast)
        return output


def _rewire(uses: list[Use], value: ir.Value | None) -> None:
    for node, index in uses:
        node.replace_input_with(index, value)


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    return None if value is None else value.dtype
