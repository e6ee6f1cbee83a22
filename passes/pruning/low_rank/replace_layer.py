"""Put thin layers into a graph in the place of one.

::

    Conv kxk                ->  Conv kxk to r, Conv 1x1             or  Conv 1x1 to r1, Conv kxk to r2, Conv 1x1
    MatMul, Gemm            ->  MatMul to r, MatMul or Gemm

The last one is the node itself with another weight: it keeps its name, its output and its bias. The window (strides,
borders, dilations) goes to the layer with the kernel, in front of which nothing is added, so that borders stay zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.integer_products import conv_weight
from tamis.compiler.rewriting.constants import constant_array, constant_value, set_constant
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.layer_inputs.layer_weight import LayerWeight
from tamis.passes.pruning.low_rank.factors import Factors

Array = np.ndarray[Any, np.dtype[Any]]
WINDOW = ("strides", "pads", "dilations", "auto_pad", "kernel_shape")


def replace_layer(weight: LayerWeight, factors: Factors, names: Names) -> None:
    """Replace the node of ``weight``, in place; its initializer changes if nothing else reads it.

    Args:
        weight: Of a layer without groups.
        factors: Of ``weight``.
        names: Free names of the model.
    """
    node = weight.node
    base = node.name or str(node.outputs[0].name)
    shifted = factors.shift if factors.shift.any() else None
    if shifted is not None:
        _shift(node, shifted, names)
    if weight.convolves:
        _thin_convolution(weight, factors, base, names)
        last = np.expand_dims(factors.last.T, tuple(range(2, len(weight.shape))))
    else:
        _insert(node, "MatMul", factors.core, f"{base}_thin", names, {})
        last = factors.last.T if weight.transposed else factors.last
    set_constant(node, 1, _float32(last), names.fresh(f"{weight.value.name}_last"))


def _thin_convolution(weight: LayerWeight, factors: Factors, base: str, names: Names) -> None:
    node, kernel = weight.node, weight.shape[2:]
    if factors.inner is not None:
        inner = np.expand_dims(factors.inner.T, tuple(range(2, len(weight.shape))))
        _insert(node, "Conv", inner, f"{base}_inner", names, {})
    channels = weight.shape[1] if factors.inner is None else factors.inner.shape[1]
    core = conv_weight(factors.core[None], (factors.core.shape[1], channels, *kernel))
    window = {name: node.attributes.pop(name) for name in WINDOW if name in node.attributes}
    made = _insert(node, "Conv", core, f"{base}_thin", names, window)
    like = node.outputs[0].shape
    made.shape = None if like is None else ir.Shape([like[0], core.shape[0], *like[2:]])


def _insert(
    node: ir.Node, op_type: str, weight: Array, name: str, names: Names, attributes: dict[str, ir.Attr]
) -> ir.Value:
    """A layer before ``node``, which reads its output."""
    graph, source = node.graph, node.inputs[0]
    assert graph is not None and source is not None
    constant = constant_value(names.fresh(f"{name}_weight"), ir.tensor(_float32(weight)))
    assert constant.const_value is not None
    constant.const_value.name = constant.name
    graph.register_initializer(constant)
    made = ir.node(op_type, [source, constant], attributes, name=names.fresh(name))
    output = made.outputs[0]
    output.name, output.type = names.fresh(f"{name}_output"), source.type
    if source.shape is not None:
        channels = 1 if op_type == "Conv" else len(source.shape) - 1
        sizes = list(source.shape)
        sizes[channels] = weight.shape[0 if op_type == "Conv" else 1]
        output.shape = ir.Shape(sizes)
    graph.insert_before(node, made)
    node.replace_input_with(0, output)
    return output


def _shift(node: ir.Node, shift: Array, names: Names) -> None:
    """Add ``shift`` to the output, by way of the bias."""
    if node.op_type == "Gemm":
        shift = shift * (node.attributes.get_float("alpha", 1.0) / node.attributes.get_float("beta", 1.0))
    old = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    bias = shift if old is None else old.astype(np.float64) + shift
    set_constant(node, 2, _float32(bias), names.fresh(f"{node.name or node.outputs[0].name}_bias"))


def _float32(array: Array) -> Array:
    return np.ascontiguousarray(array, np.float32)
